/**
 * Everything that recipients read, in English: the page on which people unsubscribe, and the line below an email that has
 * no link of its own. It is plain text: whatever shows it escapes it.
 *
 * For another language copy this file, translate it and name it in `index.ts`.
 */
export const en = {
  direction: 'ltr' as 'ltr' | 'rtl',

  choose: {
    heading: 'Unsubscribe',
    intro:
      'Choose what you no longer want to get by email from us. Nothing changes until you press a button.',
    everything: 'From everything',
    everythingHint: 'We will send you no more email.',
    everythingHintMarketing:
      'We will send you no more marketing email. Messages about your own orders, accounts or requests may still come.',
    everythingButton: 'Unsubscribe from everything',
    lists: 'Only from some lists',
    listsLegend: 'Lists that you no longer want email from',
    sentTo: 'The list that this email was sent to',
    listsButton: 'Unsubscribe from these lists',
  },

  unsubscribed: {
    heading: 'You are unsubscribed',
    everything: 'You get no more email from us.',
    everythingMarketing:
      'You get no more marketing email from us. Messages about your own orders, accounts or requests may still come.',
    lists: 'Lists that you unsubscribed from',
    confirm: 'Is that what you want?',
    confirmHint:
      'It was noted for you, not by you. Confirm it, and it is your own choice, which nobody takes back but you.',
    confirmButton: 'Yes, send me no more email',
    mistake: 'Was it a mistake?',
    takeBackLink: 'Get email again',
  },

  takeBack: {
    heading: 'Get email again?',
    everything: 'You unsubscribed from everything. Confirm it if you want to get email from us again.',
    lists:
      'You unsubscribed from some lists. Choose those that you want to get email from again, and confirm it.',
    legend: 'Lists that you want email from again',
    button: 'Yes, send me email again',
    cancel: 'No, leave it as it is',
    nothing: 'There is nothing to take back: you are not unsubscribed.',
    toPreferences: 'Email preferences',
  },

  done: {
    everything: 'Done: you are unsubscribed from everything.',
    lists: 'Done: you are unsubscribed from what you chose.',
    takenBack: 'Done: we noted that you want this email again.',
    chooseOne: 'Nothing was changed: choose at least one.',
    notUnderstood: 'Nothing was changed: that could not be understood. Please use the buttons below.',
  },

  otherReason:
    'Besides your own choice, something else keeps us from writing to you, such as a message that could not be delivered or a spam report. If you want email from us, please get in touch with us.',

  oneClick: 'You are unsubscribed.',

  invalid: {
    heading: 'This link does not work',
    text: 'It may have been cut off or changed on its way, or be very old. Nothing was changed.',
    help: 'Please open the link from the email once more, use the unsubscribe link of a newer email, or reply to the email and ask us to take you off.',
  },

  trouble: {
    heading: 'This did not work just now',
    text: 'The fault is ours, and it may not have been done. Please try again in a few minutes: asking twice does no harm.',
    unreadable:
      'What was sent could not be read, and nothing was changed. Please open the link from the email once more.',
    method: 'This address is for opening the page and for its buttons. Nothing was changed.',
  },

  /** Below a marketing email that has no unsubscribe link of its own. */
  footer: {
    link: 'Unsubscribe',
    text: 'Unsubscribe:',
  },
};

/** What a language has to say: the shape of the English file. */
export type Messages = typeof en;
