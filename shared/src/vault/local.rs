//! A vault that is a key file: for development, and for live keys never.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use super::Vault;
use super::error::Error;
use super::pair::PrivateKey;
use crate::domain::sealed::{Context, Wrapped};
use crate::domain::slot::Mode;

/// AES-256-GCM under one key of 32 bytes, with the context as associated data.
///
/// Wrapped is base64 of nonce (12 bytes, random), ciphertext and tag (16 bytes). Refuses live keys
/// both ways: nothing logs who uses this key, and nobody can take it away from a process.
#[derive(Debug)]
pub struct LocalVault {
    key: RandomizedNonceKey,
}

impl LocalVault {
    /// A vault under the key in a file of 32 bytes, which is made (mode 0600) when it is not there.
    ///
    /// Errors: [`Error::KeyFile`], [`Error::KeyFileMalformed`] and [`Error::KeyFileExposed`]. A file
    /// that is there is never overwritten: what it wrapped would be lost.
    pub fn open_or_create(path: &Path) -> Result<Self, Error> {
        let made = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path);
        let key = match made {
            Ok(file) => write_new_key(file)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => read_key(path)?,
            Err(error) => return Err(Error::KeyFile(error)),
        };
        Self::under(&key)
    }

    /// A vault under a random key that is gone with the process: for tests. Refuses live keys too.
    pub fn ephemeral() -> Result<Self, Error> {
        Self::under(&*random_key()?)
    }

    fn under(key: &[u8; KEY_LEN]) -> Result<Self, Error> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| Error::Wrap)?;
        Ok(Self { key })
    }

    fn wrap_now(&self, context: &Context, private: &PrivateKey) -> Result<Wrapped, Error> {
        refuse_live(context)?;
        // Sealed in place, so that the copy of the private key is overwritten.
        let mut sealed = private.expose().to_vec();
        let (nonce, tag) = self
            .key
            .seal_in_place_separate_tag(Aad::from(associated_data(context)), &mut sealed)
            .map_err(|_| Error::Wrap)?;
        Ok(Wrapped(STANDARD.encode([&nonce.as_ref()[..], &sealed, tag.as_ref()].concat())))
    }

    fn unwrap_now(&self, context: &Context, wrapped: &Wrapped) -> Result<PrivateKey, Error> {
        refuse_live(context)?;
        let refused = || Error::WrongContextOrTampered(None);
        let bytes = STANDARD.decode(&wrapped.0).map_err(|_| refused())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let len = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(associated_data(context)), &mut opened)
            .map_err(|_| refused())?
            .len();
        opened.truncate(len);
        Ok(PrivateKey::from_pkcs8(opened))
    }
}

impl Vault for LocalVault {
    fn wrap<'a>(
        &'a self,
        context: &'a Context,
        private: &'a PrivateKey,
    ) -> BoxFuture<'a, Result<Wrapped, Error>> {
        Box::pin(async move { self.wrap_now(context, private) })
    }

    fn unwrap_key<'a>(
        &'a self,
        context: &'a Context,
        wrapped: &'a Wrapped,
    ) -> BoxFuture<'a, Result<PrivateKey, Error>> {
        Box::pin(async move { self.unwrap_now(context, wrapped) })
    }
}

fn refuse_live(context: &Context) -> Result<(), Error> {
    match context.mode {
        Mode::Live => Err(Error::RefusesLive),
        Mode::Test => Ok(()),
    }
}

/// The context's pairs, each name and value after its length, so that no two contexts read the same.
fn associated_data(context: &Context) -> Vec<u8> {
    let mut data = Vec::new();
    for text in context.pairs().iter().flat_map(|(name, value)| [*name, *value]) {
        data.extend_from_slice(&(text.len() as u64).to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

fn random_key() -> Result<Zeroizing<[u8; KEY_LEN]>, Error> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    rand::fill(&mut *key).map_err(|_| Error::Generate)?;
    Ok(key)
}

fn write_new_key(mut file: File) -> Result<Zeroizing<[u8; KEY_LEN]>, Error> {
    let key = random_key()?;
    file.write_all(&*key).and_then(|()| file.sync_all()).map_err(Error::KeyFile)?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, Error> {
    let mut file = File::open(path).map_err(Error::KeyFile)?;
    let about = file.metadata().map_err(Error::KeyFile)?;
    if about.mode() & OTHERS != 0 {
        return Err(Error::KeyFileExposed);
    }
    if about.len() != KEY_LEN as u64 {
        return Err(Error::KeyFileMalformed);
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    file.read_exact(&mut *key).map_err(Error::KeyFile)?;
    Ok(key)
}

const KEY_LEN: usize = 32;
const OWNER_ONLY: u32 = 0o600;
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::id::{AccountId, Kid};
    use crate::vault::pair::{Bits, generate};

    fn context(mode: Mode) -> Context {
        Context {
            app: "ca_1".to_owned(),
            account: AccountId::parse("acct_1").unwrap(),
            mode,
            kid: Kid::parse("kid_1").unwrap(),
        }
    }

    #[tokio::test]
    async fn live_keys_are_refused_both_ways() {
        let (private, _) = generate(Bits::Rsa2048).unwrap();
        let vault = LocalVault::ephemeral().unwrap();
        let live = context(Mode::Live);
        assert!(matches!(vault.wrap(&live, &private).await, Err(Error::RefusesLive)));
        let wrapped = vault.wrap(&context(Mode::Test), &private).await.unwrap();
        assert!(matches!(vault.unwrap_key(&live, &wrapped).await, Err(Error::RefusesLive)));
    }

    #[tokio::test]
    async fn the_same_file_opens_what_it_wrapped_and_another_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let (private, _) = generate(Bits::Rsa2048).unwrap();
        let first = LocalVault::open_or_create(&path).unwrap();
        let wrapped = first.wrap(&context(Mode::Test), &private).await.unwrap();
        let again = LocalVault::open_or_create(&path).unwrap();
        let back = again.unwrap_key(&context(Mode::Test), &wrapped).await.unwrap();
        assert_eq!(back.expose(), private.expose());
        let other = LocalVault::open_or_create(&other).unwrap();
        assert!(matches!(
            other.unwrap_key(&context(Mode::Test), &wrapped).await,
            Err(Error::WrongContextOrTampered(None))
        ));
    }

    #[test]
    fn the_key_file_is_its_owners_only_or_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        LocalVault::open_or_create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refusal = LocalVault::open_or_create(&path);
        assert!(matches!(refusal, Err(Error::KeyFileExposed)));
    }

    #[test]
    fn a_key_file_of_another_length_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, b"short").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(OWNER_ONLY)).unwrap();
        let refusal = LocalVault::open_or_create(&path);
        assert!(matches!(refusal, Err(Error::KeyFileMalformed)));
        assert_eq!(fs::read(&path).unwrap(), b"short");
        let nowhere = LocalVault::open_or_create(&folder.path().join("no/key"));
        assert!(matches!(nowhere, Err(Error::KeyFile(_))));
    }

    #[test]
    fn contexts_that_read_the_same_when_run_together_differ() {
        let shifted = |app: &str, account: &str| {
            associated_data(&Context {
                app: app.to_owned(),
                account: AccountId::parse(account).unwrap(),
                ..context(Mode::Test)
            })
        };
        assert_ne!(shifted("xaccountacct_1", "acct_1"), shifted("x", "acct_1accountacct_1"));
    }

    #[test]
    fn its_debug_form_has_no_key_in_it() {
        let shown = format!("{:?}", LocalVault::under(&[7; KEY_LEN]).unwrap());
        assert!(!shown.contains("7, 7") && !shown.contains("0707"), "{shown}");
    }
}
