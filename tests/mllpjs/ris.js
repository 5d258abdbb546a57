// A RIS that nobody here wrote: node ris.js PLAN, where PLAN is JSON.
//
// {by, host, port, messages: [text, …], batch} sends, each after the answer to the one before,
// all in one BHS … BTS if `batch`; {by, listen, ends: n} hears n messages and answers each AA.
// `by` is "simple-hl7" or "node-hl7". Tells a line of JSON for each answer or message, and
// {"listening": port} first when it hears.
'use strict';

const hl7 = require('simple-hl7');
const { Batch, Client, Message } = require('node-hl7-client');
const { Server } = require('node-hl7-server');

const PATIENCE_MS = 30000;
const plan = JSON.parse(process.argv[2]);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// --- simple-hl7

async function sendSimply() {
  const client = hl7.Server.createTcpClient({ host: plan.host, port: plan.port, keepalive: true });
  const parser = new hl7.Parser({ segmentSeperator: '\r' });
  for (const text of plan.messages) {
    const answer = await new Promise((resolve, reject) => {
      client.send(parser.parse(text), (error, ack) => (error ? reject(error) : resolve(ack)));
    });
    tell({ answer: answer.toString() });
  }
  client.close();
}

function hearSimply() {
  const app = hl7.tcp();
  let heard = 0;
  app.use((request, response) => {
    tell({ message: request.msg.toString() });
    response.end();
    heard += 1;
    if (heard >= plan.ends) setTimeout(() => process.exit(0), 500);
  });
  app.start(plan.listen);
  tell({ listening: plan.listen });
}

// --- node-hl7-client, node-hl7-server

function send() {
  const client = new Client({ host: plan.host });
  const texts = plan.messages.map((text) => text.replace(/\r$/, ''));
  let heard;
  const read = async (response) => {
    tell({ answer: response.getMessage().toString() });
    heard();
  };
  // It reads single messages alone: of a batch of answers it would throw.
  const connection = client.createConnection({ port: plan.port }, plan.batch ? undefined : read);
  const ask = (message) =>
    new Promise((resolve, reject) => {
      heard = resolve;
      connection.sendMessage(message).catch(reject);
    });
  connection.on('client.error', (error) => tell({ error: String(error) }));
  return new Promise((resolve, reject) => {
    connection.on('connect', async () => {
      try {
        if (plan.batch) {
          const batch = new Batch();
          batch.start();
          texts.forEach((text) => batch.add(new Message({ text })));
          batch.end();
          connection._socket.on('data', (data) => {
            tell({ answer: data.toString().replace(/[\x0b\x1c]/g, '') });
            heard();
          });
          await ask(batch);
        } else {
          for (const text of texts) await ask(new Message({ text }));
        }
        await connection.close();
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
}

function hear() {
  const server = new Server({ bindAddress: '127.0.0.1' });
  let heard = 0;
  const inbound = server.createInbound({ port: plan.listen }, async (request, response) => {
    tell({ message: request.getMessage().toString() });
    await response.sendResponse('AA');
    heard += 1;
    if (heard >= plan.ends) setTimeout(() => process.exit(0), 500);
  });
  inbound.on('data.error', (error) => process.stderr.write(`${error}\n`));
  inbound.on('listen', () => tell({ listening: plan.listen }));
}

const simply = plan.by === 'simple-hl7';
setTimeout(() => {
  process.stderr.write('nothing came in time\n');
  process.exit(3);
}, PATIENCE_MS).unref();
if (plan.listen) {
  if (simply) hearSimply();
  else hear();
} else {
  (simply ? sendSimply() : send()).then(
    () => process.exit(0),
    (error) => {
      process.stderr.write(`${error}\n`);
      process.exit(1);
    },
  );
}
