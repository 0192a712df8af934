//! Key pairs for worlds that need hundreds: a few, made once a process and handed out again and again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use keysteward::vault::Error;
use keysteward::vault::pair::{Bits, PrivateKey, generate};
use zeroize::Zeroizing;

/// The next pair, whatever the size asked for: 2048 bits, known to nobody else, shared by worlds.
///
/// Two accounts may get the same one. What must not open with another account's pair is bound to the
/// account by KMS's encryption context all the same, and tests of that make their own pairs.
pub fn from_the_pool(_: Bits) -> BoxFuture<'static, Result<(PrivateKey, String), Error>> {
    static POOL: LazyLock<Vec<(Vec<u8>, String)>> = LazyLock::new(|| {
        let made = (0..POOL_SIZE).filter_map(|_| generate(Bits::Rsa2048).ok());
        made.map(|(private, pem)| (private.expose().to_vec(), pem)).collect()
    });
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let pair = POOL.get(NEXT.fetch_add(1, Ordering::Relaxed) % POOL_SIZE);
    let pair =
        pair.map(|(der, pem)| (PrivateKey::from_pkcs8(Zeroizing::new(der.clone())), pem.clone()));
    Box::pin(async move { pair.ok_or(Error::Generate) })
}

const POOL_SIZE: usize = 4;
