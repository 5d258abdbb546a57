// A modality that nobody here wrote: node modality.js PLAN, where PLAN is JSON.
//
// {host, port, calling, called, listen, wait, pdu, ca, steps: [{op, …}, …]} — each step is one
// association; `listen` is a port on which storage commitment reports are taken, `wait` how
// many of them to wait for, `pdu` how long a PDU it takes, `ca` a PEM file: then it speaks TLS.
// Tells a line of JSON for each answer, each instance that it gets and each report.
'use strict';

const { readFileSync } = require('fs');
const dimse = require('dcmjs-dimse');
const { Client, Dataset, Implementation, Scp, Server } = dimse;
const { CEchoRequest, CFindRequest, CGetRequest, CMoveRequest, CStoreRequest } = dimse.requests;
const { NActionRequest, NCreateRequest, NSetRequest } = dimse.requests;
const { CStoreResponse, NEventReportResponse } = dimse.responses;
const { PresentationContextResult, SopClass, Status, TransferSyntax } = dimse.constants;

dimse.log.setLevel('silent');

const MPPS = SopClass.ModalityPerformedProcedureStep;
const COMMITMENT = SopClass.StorageCommitmentPushModel;
const COMMITMENT_INSTANCE = '1.2.840.10008.1.20.1.1';
const PATIENCE_MS = 30000;

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

function request(step) {
  switch (step.op) {
    case 'create': {
      const made = new NCreateRequest(MPPS, step.uid);
      made.setDataset(new Dataset(step.dataset, TransferSyntax.ImplicitVRLittleEndian));
      return made;
    }
    case 'set': {
      const made = new NSetRequest(MPPS, step.uid);
      made.setDataset(new Dataset(step.dataset, TransferSyntax.ImplicitVRLittleEndian));
      return made;
    }
    case 'echo':
      return new CEchoRequest();
    case 'find':
      return CFindRequest.createStudyFindRequest({ StudyInstanceUID: step.study });
    case 'get':
      return CGetRequest.createStudyGetRequest(step.study);
    case 'move':
      return CMoveRequest.createStudyMoveRequest(step.to, step.study);
    case 'store':
      return new CStoreRequest(step.file);
    case 'commit': {
      const made = new NActionRequest(COMMITMENT, COMMITMENT_INSTANCE, 1);
      made.setDataset(new Dataset(step.dataset, TransferSyntax.ImplicitVRLittleEndian));
      return made;
    }
    default:
      throw new Error(`no such operation: ${step.op}`);
  }
}

function perform(plan, step) {
  return new Promise((resolve, reject) => {
    const client = new Client();
    const asked = request(step);
    asked.on('response', (response) => {
      tell({ op: step.op, status: response.getStatus() });
    });
    client.addRequest(asked);
    client.on('cStoreRequest', (given, callback) => {
      tell({ op: 'got', dataset: given.getDataset().getElements() });
      const response = CStoreResponse.fromRequest(given);
      response.setStatus(Status.Success);
      callback(response);
    });
    client.on('networkError', reject);
    client.on('associationRejected', () => reject(new Error('association rejected')));
    client.on('closed', resolve);
    const tls = plan.ca ? { ca: readFileSync(plan.ca) } : undefined;
    client.send(plan.host, plan.port, plan.calling, plan.called, { securityOptions: tls });
  });
}

let reports = 0;
let reported = () => {};

class Reports extends Scp {
  constructor(socket, opts) {
    super(socket, opts);
    this.association = undefined;
  }

  associationRequested(association) {
    this.association = association;
    association.getPresentationContexts().forEach((c) => {
      const context = association.getPresentationContext(c.id);
      const known = context.getAbstractSyntaxUid() === COMMITMENT;
      const syntax = context
        .getTransferSyntaxUids()
        .find((uid) => uid === TransferSyntax.ImplicitVRLittleEndian);
      if (known && syntax) {
        context.setResult(PresentationContextResult.Accept, syntax);
      } else {
        context.setResult(PresentationContextResult.RejectAbstractSyntaxNotSupported);
      }
    });
    this.sendAssociationAccept();
  }

  nEventReportRequest(asked, callback) {
    tell({
      op: 'report',
      type: asked.getEventTypeId(),
      calling: this.association.getCallingAeTitle(),
      dataset: asked.getDataset().getElements(),
    });
    const response = NEventReportResponse.fromRequest(asked);
    response.setStatus(Status.Success);
    callback(response);
    reports += 1;
    reported();
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

async function main(plan) {
  if (plan.pdu) {
    Implementation.setMaxPduLength(plan.pdu);
  }
  const server = new Server(Reports);
  if (plan.listen) {
    server.listen(plan.listen);
  }
  for (const step of plan.steps) {
    await perform(plan, step);
  }
  if (plan.wait) {
    await new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error('no report came')), PATIENCE_MS);
      reported = () => {
        if (reports >= plan.wait) {
          clearTimeout(limit);
          // The answer to the last report, and its release, are still on their way.
          setTimeout(resolve, 300);
        }
      };
      reported();
    });
  }
}

main(JSON.parse(process.argv[2])).then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  }
);
