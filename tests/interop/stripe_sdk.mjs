// One command of Stripe's own Node package: a JSON object on stdin, its result as JSON on stdout.

import { readFileSync } from "node:fs";
import Stripe from "stripe";

// The one published preview that has the key endpoints; npm has no release with their types.
const API_VERSION = "2026-10-14.preview";

function clientOf(job) {
  const base = new URL(job.base);
  return new Stripe(job.key, {
    apiVersion: API_VERSION,
    host: base.hostname,
    port: base.port,
    protocol: "http",
    stripeContext: job.account,
    telemetry: false,
  });
}

const offline = new Stripe("sk_test_fake_app");

function header(text, job) {
  const { secret, at } = job;
  return offline.webhooks.generateTestHeaderString({ payload: text, secret, timestamp: at });
}

// What `read` answers, or why the signature was refused; any other error ends the script.
function orRefused(read) {
  try {
    return read();
  } catch (error) {
    if (error.type !== "StripeSignatureVerificationError") throw error;
    return { refused: error.message };
  }
}

// The text under an install_signature: state, user_id, account_id, in that order, compact.
function installText({ state, user_id, account_id }) {
  return JSON.stringify({ state, user_id, account_id });
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return { code: error.code, status: error.statusCode };
  }
  throw new Error("a call was not refused");
}

const commands = {
  // Signs an event that Node wrote down, as Stripe would.
  sign(job) {
    const body = JSON.stringify(job.event, null, job.indent ?? undefined);
    return { body, header: header(body, job) };
  },

  // What the package makes of a webhook that was signed elsewhere.
  verify(job) {
    const body = Buffer.from(job.body);
    return orRefused(() => {
      const event = job.thin
        ? offline.parseEventNotification(body, job.header, job.secret)
        : offline.webhooks.constructEvent(body, job.header, job.secret);
      return { id: event.id, type: event.type };
    });
  },

  sign_install(job) {
    return { header: header(installText(job.claim), job) };
  },

  verify_install(job) {
    const text = installText(job.claim);
    // Tolerance 0: the worlds of the tests have their own clock.
    return orRefused(() => {
      offline.webhooks.signature.verifyHeader(text, job.header, job.secret, 0);
      return {};
    });
  },

  // Every operation of /v2/iam/api_keys.
  async keys(job) {
    const stripe = clientOf(job);
    const keys = "/v2/iam/api_keys";
    const post = (path, params, options) => stripe.rawRequest("POST", path, params, options);
    const get = (path) => stripe.rawRequest("GET", path);
    const public_key = { id: job.kid, pem_key: { algorithm: "RSA", data: job.pem } };
    const created = await post(
      keys,
      {
        type: "secret_key",
        name: "made by Node",
        note: "first",
        permissions: ["customer_read"],
        public_key,
      },
      { idempotencyKey: `interop-create-${job.kid}` },
    );
    const publishable = await post(keys, { type: "publishable_key", name: "made by Node too" });
    const listed = [];
    for (let next = `${keys}?limit=1`; next !== null; ) {
      const page = await get(next);
      listed.push(...page.data.map((key) => key.id));
      next = page.next_page_url;
    }
    const one = `${keys}/${created.id}`;
    const retrieved = await get(one);
    const updated = await post(one, {
      note: "second",
      permissions: ["customer_read", "charge_read"],
    });
    const rotated = await post(`${one}/rotate`, { expire_current_key_in_minutes: 60, public_key });
    const already_rotated = await refusal(() => post(`${one}/rotate`, { public_key }));
    const expired = await post(`${keys}/${rotated.id}/expire`);
    const already_expired = await refusal(() => post(`${keys}/${rotated.id}/expire`));
    const ids = (page) => page.data.map((key) => key.id);
    return {
      created,
      publishable,
      listed,
      retrieved,
      updated,
      rotated,
      expired,
      active: ids(await get(keys)),
      all: ids(await get(`${keys}?include_expired=true`)),
      already_rotated,
      already_expired,
      unknown: await refusal(() => get(`${keys}/mk_1Nobody`)),
    };
  },

  // Parses signed deliveries and fetches the events that they announce.
  async notifications(job) {
    const stripe = clientOf(job);
    const read = [];
    for (const delivery of job.deliveries) {
      const body = Buffer.from(delivery.body);
      const notification = stripe.parseEventNotification(body, delivery.header, job.secret);
      const { type, livemode } = notification;
      const entry = { type, context: String(notification.context), livemode };
      if (delivery.fetch) {
        const event = await notification.fetchEvent();
        entry.event = {
          id: event.id,
          same_id: event.id === notification.id,
          data: event.data,
          changes: event.changes,
        };
      }
      read.push(entry);
    }
    return read;
  },
};

const job = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await commands[job.command](job)));
