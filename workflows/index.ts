export { emailSend } from './emailSend.ts';
export { importFile } from './importFile.ts';
export { sweep } from './sweep.ts';
