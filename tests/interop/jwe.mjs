// JWE by jose: a JSON object on stdin, its result as JSON on stdout.

import { readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { CompactEncrypt, compactDecrypt, importPKCS8, importSPKI } from "jose";

const commands = {
  // Seals the token under each of the headers.
  seal(job) {
    const token = new TextEncoder().encode(job.token);
    return Promise.all(
      job.headers.map(async (header) => {
        const key =
          header.alg === "dir" ? randomBytes(32) : await importSPKI(job.public_pem, header.alg);
        return new CompactEncrypt(token).setProtectedHeader(header).encrypt(key);
      }),
    );
  },

  // Opens each ciphertext, and shows its header.
  open(job) {
    return Promise.all(
      job.sealed.map(async (sealed) => {
        const key = await importPKCS8(job.private_pem, "RSA-OAEP-256");
        const { plaintext, protectedHeader } = await compactDecrypt(sealed, key);
        return { token: new TextDecoder().decode(plaintext), header: protectedHeader };
      }),
    );
  },
};

const job = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await commands[job.command](job)));
