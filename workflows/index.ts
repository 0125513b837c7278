export { emailSend } from './emailSend.ts';
export { sweep } from './sweep.ts';
