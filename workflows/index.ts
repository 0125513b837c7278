export { automation } from './automation.ts';
export { bulkUpdate } from './bulkUpdate.ts';
export { emailSend } from './emailSend.ts';
export { enrollment } from './enrollment.ts';
export { imapPoll } from './imapPoll.ts';
export { importFile } from './importFile.ts';
export { rateCheck } from './rateCheck.ts';
export { sweep } from './sweep.ts';
