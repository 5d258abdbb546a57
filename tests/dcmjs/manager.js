// A PPS manager that nobody here wrote: node manager.js PORT. It takes every N-CREATE and N-SET
// of MPPS, and tells a line of JSON for each; it ends when its input ends.
'use strict';

const dimse = require('dcmjs-dimse');
const { Scp, Server } = dimse;
const { NCreateResponse, NSetResponse } = dimse.responses;
const { PresentationContextResult, SopClass, Status, TransferSyntax } = dimse.constants;

dimse.log.setLevel('silent');

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

class Manager extends Scp {
  associationRequested(association) {
    this.association = association;
    association.getPresentationContexts().forEach((c) => {
      const context = association.getPresentationContext(c.id);
      const known = context.getAbstractSyntaxUid() === SopClass.ModalityPerformedProcedureStep;
      const syntaxes = context.getTransferSyntaxUids();
      if (known && syntaxes.includes(TransferSyntax.ImplicitVRLittleEndian)) {
        context.setResult(PresentationContextResult.Accept, TransferSyntax.ImplicitVRLittleEndian);
      } else {
        context.setResult(PresentationContextResult.RejectTransferSyntaxesNotSupported);
      }
    });
    this.sendAssociationAccept();
  }

  nCreateRequest(asked, callback) {
    this.take('create', asked.getAffectedSopInstanceUid(), asked);
    const response = NCreateResponse.fromRequest(asked);
    response.setStatus(Status.Success);
    callback(response);
  }

  nSetRequest(asked, callback) {
    this.take('set', asked.getRequestedSopInstanceUid(), asked);
    const response = NSetResponse.fromRequest(asked);
    response.setStatus(Status.Success);
    callback(response);
  }

  take(op, uid, asked) {
    const calling = this.association.getCallingAeTitle().trim();
    tell({ op, uid, calling, dataset: asked.getDataset().getElements() });
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

const server = new Server(Manager);
server.listen(Number(process.argv[2]));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
