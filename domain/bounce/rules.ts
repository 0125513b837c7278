import type { BounceAction, Category, Fault, SmtpPhase, Speaker } from './verdict.ts';

/** A reply as the rules see it. */
export interface SeenReply {
  /** Lower case, one line, without links, every email address of the recipient's domain (of any, where it is unknown) as `addr`. */
  readonly text: string;
  /** The links that stood in the text: some name the blocklist or the kind of refusal. */
  readonly links: string;
  readonly code: number;
  readonly enhancedCode: string | null;
  readonly phase: SmtpPhase | null;
  readonly speaker: Speaker;
}

/** Rules are tried in their order; the first that matches decides. */
export interface Rule {
  readonly name: string;
  /** Why it means that: an RFC section, or the page where a provider says so. */
  readonly source: string;
  readonly category: Category;
  /** What a permanent reply means; a temporary one (4yz, 4.y.z) is always soft. */
  readonly permanent: BounceAction;
  readonly fault: Fault;
  readonly matches: (seen: SeenReply) => boolean;
}

const any =
  (...tests: ((seen: SeenReply) => boolean)[]) =>
  (seen: SeenReply) =>
    tests.some((test) => test(seen));
const all =
  (...tests: ((seen: SeenReply) => boolean)[]) =>
  (seen: SeenReply) =>
    tests.every((test) => test(seen));
const not = (test: (seen: SeenReply) => boolean) => (seen: SeenReply) => !test(seen);
const says =
  (...patterns: RegExp[]) =>
  (seen: SeenReply) =>
    patterns.some((pattern) => pattern.test(seen.text));
const links =
  (...patterns: RegExp[]) =>
  (seen: SeenReply) =>
    patterns.some((pattern) => pattern.test(seen.links));
/** Subject and detail of the enhanced status code, whatever its class: `enhanced(/^1\.1$/)` is X.1.1. */
const enhanced = (pattern: RegExp) => (seen: SeenReply) =>
  seen.enhancedCode !== null && pattern.test(seen.enhancedCode.slice(2));
const code =
  (...codes: number[]) =>
  (seen: SeenReply) =>
    codes.includes(seen.code);
const by = (speaker: Speaker) => (seen: SeenReply) => seen.speaker === speaker;
const inPhase =
  (...phases: SmtpPhase[]) =>
  (seen: SeenReply) =>
    seen.phase !== null && phases.includes(seen.phase);

/*
 * Word families. A user is unknown in a hundred wordings, but nearly all join a noun for the mailbox with a word for
 * its not being there. What lies between them stays within one sentence.
 */
const MAILBOX =
  '(?:users?(?: ?names?| ?ids?)?|userids?|recipients?|mail ?box(?:es)?|accounts?|(?<!ip |host |server |sender |system )address(?:es)?|adresse|addressee|alias(?:es)?|local[- ]part|destinataires?|utilisateurs?|usuarios?|empf(?:ä|ae)nger|benutzer|utente|destinat[aá]ri[oa]|usu[aá]rio|direcci[oó]n)';
const NOT_THERE =
  "(?:unknown(?! (?:(?:mailer|delivery|internal|system|server|smtp) )?(?:error|reason|problem|failure|status|sender|host|command|protocol|content))|not (?:be )?(?:found|known|recogni[sz]ed|listed|registered|present|local|valid|exist)\\b|(?:does|dos|do|did)(?: not|n't) (?:currently )?exist|(?:isn't|aren't) (?:valid|known|listed|registered|local)|(?:could|can)(?:not|n't| not) be found|non-?exist[ae]nt|invalid(?! (?:sender|helo|message|header|content|credential|certificate|command|response|character))|no longer (?:exists?|valid|available|active|in (?:use|service|existence)|here|with|employed|accepts|on)|inconnue?s?|invalide|inexistante?|desconocid[oa]|no existe|inexistente|unbekannt|existiert nicht|sconosciut[oa]|non esiste|desconhecid[oa])";
const NO_SUCH =
  "(?:unknown|invalid|illegal|no such|no|non-?exist[ae]nt|wrong|bad|undeliverable|unroute?able|unresolvable|not an? (?:\\w+ )?(?:valid|known|active|existing|existent|local|registered)|(?:is|was)n't an? (?:valid|known|existing))";
const WITHIN_SENTENCE = '(?:[^.;!?]|\\.(?=\\w)){0,70}?';

const USER_UNKNOWN = [
  new RegExp(`\\b${MAILBOX}\\b(?! (?:database|lookup|directory|table))${WITHIN_SENTENCE}\\b${NOT_THERE}`),
  new RegExp(
    `\\b(?:cannot|can't|could not|couldn't|unable to) (?:find|locate|accept) (?:(?:the|this|that|a|such) )?${MAILBOX}\\b`,
  ),
  new RegExp(
    `\\b${NO_SUCH}\\s+(?:(?:or|and|final|delivery|local|virtual|destination|e-?mail|illegal|invalid|unknown|valid|smtp|internet|the|such)\\s+|\\W+){0,4}(?:${MAILBOX}|person|customer|member|subscriber)\\b`,
  ),
  new RegExp(`\\baddr\\b\\W{0,6}(?:is |was )?${NOT_THERE}`),
  /\b(?:does not|doesn't) have an? (?:\S+ )?(?:account|mailbox)\b/,
  new RegExp(`\\b(?:do|does)(?: not|n't) have (?:such|this|that) (?:an? )?${MAILBOX}\\b`),
  /(?:用户|用戶|收件人|邮箱|信箱|帐号|账号|帳號)[^。；;]{0,12}(?:不存在|无效|無效)/,
  /(?:пользовател|получател|ящик)\p{L}*[^.;]{0,40}(?:не (?:найден|существует)|неизвест)/u,
  /\b(?:there is )?no(?: one|body)? (?:here )?(?:at|by|with|under) (?:this|that) (?:address|name)\b/,
  /\bnot our (?:user|customer)\b|\bnot (?:an? )?(?:\w+ )?(?:user|customer|recipient|mailbox) here\b/,
  /\brecip(?:ient)?notfound\b|\bbadrcptto\b|\bvalidrcptto\b/,
  /\b(?:bad|invalid) destination mailbox\b/,
  /\b(?:account|mail ?box|address|user)\b(?: addr)? (?:(?:has been|is|was) )?(?:permanently )?(?:deleted|removed|closed)\b/,
  // Said of the address with nothing added: no policy, no content, nothing about us.
  /(?<!sender |from |ip )\b(?:addr|recipient|recipient address|address)\b\W{0,6}(?:is |was )?(?:address )?(?:rejected|not accepted)\b\W*(?:addr\b\W*)?$/,
];

const HOST_UNKNOWN = [
  /(?<!sender |sending |from |your |our |client )\b(?:domain|host|mail ?server|exchanger)(?:\s+name|\/domain)?\b(?:[^.;!?]|\.(?=\w)){0,50}?\b(?:unknown|not found|(?:does not|doesn't) exist|non-?existent|could(?:n't| not) be found|(?:does not|doesn't) resolve)/,
  /\b(?:unknown|no such|illegal|non-?existent|invalid|unroute?able mail) (?:host|domain|host\/domain)\b/,
  /\bcould(?:n't| not) find (?:any|a) (?:host|mail exchanger|mx)\b|\bno mx (?:records? )?(?:found|exists?)?/,
  /\bno (?:mail (?:servers?|hosts?|exchangers?)|mx hosts?) (?:\w+ ){0,3}(?:exists?|found|for)\b/,
  /\bbad destination system\b|\bnxdomain\b|\bnonexistentdomain\b|\ball relevant mx records point to non-?existent hosts\b/,
];

const MAILBOX_FULL = [
  /\bover[- ]?(?:the )?quota\b|\bquota ?(?:is )?(?:exceed|full|violat|reached|limit)|\bquotaexceeded|overquota/,
  /\bexceed\w*\b(?:[^.;]|\.(?=\w)){0,40}\b(?:quota|allowed size|storage|mailbox size|space)\b/,
  /\b(?:mail ?box|in ?box|mail ?folder|mail ?drop|maildir|mail ?store|message store|account|storage|disk)\b(?:[^.;]|\.(?=\w)){0,20}\b(?:is |was )?(?:too |almost )?full\b/,
  /\bmail ?box\b(?:[^.;]|\.(?=\w)){0,20}\bexceed\w*\b(?:[^.;]|\.(?=\w)){0,20}\b(?:limit|maximum)\b/,
  /\b(?:full|too large) (?:mail ?box|in ?box)\b|\bout of (?:\w+ )?space\b/,
  /\b(?:not enough|insufficient|no) (?:\w+ ){0,2}(?:storage|space)\b/,
  /\bbo[iî]te\b.*\bpleine\b|\bpostfach\b.*\bvoll\b|\bbuz[oó]n\b.*\blleno\b|\bcasella\b.*\bpiena\b|\bcaixa\b.*\bcheia\b/,
];

const MAILBOX_INACTIVE = [
  new RegExp(
    `\\b(?:${MAILBOX}|compte|e-?mail)\\b(?:[^.;!?]|\\.(?=\\w)){0,60}?\\b(?:(?:is|was|are|has been|have been|been|currently|temporarily|or|est|and|user|address|account|rejected:)\\s+|[^\\w\\s]+\\s*)(?:(?:currently|temporarily|permanently|a|an|been)\\s+)*(?:disabled|suspended|inactive|in-?activated?|deactivated|blocked|bloque|locked|frozen|expired|discontinued|terminated|archived|on hold|dormant)\\b(?! (?:from|for|due|because|by policy))`,
  ),
  /\b(?:disabled|suspended|inactive|deactivated|locked|frozen|expired|dormant|archived) (?:recipient|user|account|mail ?box|address)\b/,
  new RegExp(
    `\\b${MAILBOX}(?: addr)? (?:disabled|suspended|inactive|deactivated|locked|frozen|expired|discontinued)\\b`,
  ),
];

/** Addresses, hosts and lists: a no to the host that we send from, whoever the mail is for. */
const OUR_HOST_LISTED = [
  /\b(?:black|block|deny)[- ]?list|\b(?:rbl|dnsbl|rhsbl)s?\b|\bspamhaus|\bspamcop|\bsorbs\b|\buribl|\bsurbl|\babuseat|\bbarracudacentral|\bcloudmark|\bsenderbase|\bipcheck\.proofpoint|\bsenderscore|\bcsi\.mimecast/,
  /(?<!\bnot )\blisted (?:in|on|at|by)\b/,
  /\b(?:client host|host network|your (?:ip|host|server|network|isp)|sending (?:ip|server|host)|source ip|client ip|ip address|the ip)\b(?:[^.;]|\.(?=\w)){0,60}\b(?:block|ban|reject|den(?:y|ied)|refus|not (?:allowed|accepted|permitted)|suspicious|weren't sent|forbidden|untrusted)/,
  /\b(?:block|bann|reject|refus|den(?:y|ied))\w*\b(?:[^.;]|\.(?=\w)){0,40}\b(?:sending ip|ip address|your ip|client host|client ip|source ip|your server|your network)\b/,
  /\breverse dns\b|\brdns\b|\bptr\b|\bip name lookup\b|\bunverifyable sending ips?\b|\bvalid sender domain\b/,
  /\bplease use the smtp server of your isp\b|\bdynamic(?:ally assigned)? ip\b/,
  /\bmessages from \S+ (?:weren't sent|(?:will be )?(?:temporarily|permanently) deferred)\b|\bunexpected volume or user complaints\b/,
  /\bblocked (?:for|due to) (?:abuse|spam)|\bnot accepting (?:connections|mail|messages) from\b|\bnot accepted from this ip\b|\bnot allowed to connect\b|\bservice refused\b/,
];

const RATE_LIMITED = [
  /\brate[- ]?limit|\bthrottl|\bslow down\b|\btoo (?:fast|quickly|frequent)|\bfrequency limit|\bunusual(?:ly high)? rate\b|\bconnection rate\b/,
  /\btoo many\b(?:[^.;]|\.(?=\w)){0,40}\b(?:connections?|sessions?|messages?|e-?mails?|recipients?|errors?|unknown|invalid|bad|requests|connexions)\b|\b(?:unknown|invalid) (?:users?|recipients?) limit\b/,
  /\b(?:daily|hourly|sending|relay|connection|recipients? per)\b(?:[^.;]|\.(?=\w)){0,30}\b(?:quota|limits?|threshold)\b/,
  /\bexceed\w*\b(?:[^.;]|\.(?=\w)){0,40}\b(?:daily|hourly|per (?:second|minute|hour|day)|rate|sending|connections?|relay)\b/,
];

const MESSAGE_AUTHENTICATION = [
  /\b(?:spf|dkim|dmarc|domainkeys|sender[- ]?id)\b/,
  /\bunauthenticated (?:e-?mail|sender|mail|message)|\bsender is unauthenticated\b|\bmultiple authentication checks failed\b/,
  /\b(?:does not|doesn't) have authentication information\b|\bpurported responsible address\b|\bspoof/,
];

const SENDER =
  '(?:sender|originator|return[- ]path|reverse[- ]path|mail[- ]from|envelope[- ]from|from[: ](?:address|header|domain)|helo|ehlo)';
const OUR_SENDER = [
  new RegExp(
    `(?<!\\bto )(?<!\\bto the )\\b${SENDER}\\b(?:[^.;]|\\.(?=\\w)){0,60}?\\b(?:unknown|not (?:exist|found|valid|permitted|allowed|owned|verified|known|recogni[sz]ed|listed|registered|authori[sz]ed|accepted)|(?:does not|doesn't) (?:exist|resolve)|invalid|rejected|denied|refused|blocked|unverified|verif\\w+ failed|could not be verified|no such|unroute?able|cannot be|mismatch|missing)`,
  ),
  new RegExp(
    `\\b(?:unknown|invalid|unroute?able|unresolvable|unverified|missing|illegal|bad|rejected|malformed|no such|provide a valid)\\b (?:\\w+ )?${SENDER.replace('(?:', '(?:from\\b|')}`,
  ),
  new RegExp(`\\b(?:cannot|can't|could not|couldn't|unable to) verify (?:(?:the|your) )?${SENDER}\\b`),
  /\bin (?:your )?(?:helo|ehlo)\b|\bsending domain\b|\bsender(?:'s)? (?:domain|address)\b|\bfrom: domain\b|\bnot allowed to send\b/,
];

const SPAM_OR_VIRUS = [
  /\b(?:anti-?)?spam|\bunsolicited|\bubes?\b|\bbulk (?:e-?mail|mail|message)|\bphish|\bvirus|\bmalware|\btrojan|\binfected|\bmalicious|\bsuspicious|\bhoax|\bscam\b/,
  /\b(?:message|mail|e-?mail) content\b|\bcontent (?:rejected|denied|filter|presents)|\bblacklisted (?:url|link)|\b(?:prohibited|forbidden|banned|blocked) (?:attachment|file|content)|\battachment\b/,
  /\brfc[- ]?(?:\d+ )?(?:non-?)?compl|\bnot (?:rfc )?\d*\s*compliant\b|\bheader error|\bheaders? (?:too|are|is)\b|\bmessage header\b|\b(?:multiple|missing|duplicate) (?:\w+ )?(?:addresses|headers?)\b|\b(?:invalid|malformed|bad|illegal|from|to|cc|reply-to) headers?\b|\bmultiple addresses\b|\bmedia error\b|\bmessage filtered\b/,
];

const TOO_LARGE = [
  /\b(?:message|mail|e-?mail|size|content|data|headers?|attachment)s?\b(?:[^.;]|\.(?=\w)){0,30}\btoo (?:large|big)\b|\b(?:lines?|headers?|subject|address)\b(?: is| are)? too long\b/,
  /\b(?:size|length)\b(?:[^.;]|\.(?=\w)){0,20}\bexceed|\bexceed\w*\b(?:[^.;]|\.(?=\w)){0,30}\b(?:message size|size limit|length limit|maximum|fixed limit|administrative limit)\b/,
  /\bline limit exceeded\b|\brecipsizelimit\b/,
];

const POLICY = [
  /\bpolic(?:y|ies)\b|\b(?:not |un)authori[sz]ed\b|\bpermission|\bsecurity\b|\bprohibit|\bnot (?:allowed|permitted)\b|\bforbidden\b/,
  /\brestricted\b|\bnot a member\b|\bmoderat(?:ed|ion|or)|\brecipient(?:'s)? preferences?\b/,
];

const REFUSAL = [
  /\baccess denied\b|\bnot accepted\b/,
  /\b(?:message|mail|e-?mail)\b(?:[^.;]|\.(?=\w)){0,30}\b(?:rejected|refused|blocked|denied|filtered|discarded)\b/,
];

const NETWORK = [
  /\btimed? ?out\b|\bconnection (?:refused|reset|dropped|closed|lost)|\bno route to host\b|\bunreachable\b|\bnetwork error\b|\bsocket error\b/,
  /\bname lookup failure\b|\bservfail\b|\bdns query failed\b|\bhost not found, try again\b/,
  /\bnot accept our requests to connect\b|\b(?:wasn't able|unable|failed) to (?:establish an smtp connection|connect|contact)\b/,
];

const EXPIRED = [
  /\b(?:message|envelope|delivery|retry|queue)\b(?:[^.;]|\.(?=\w)){0,20}\b(?:expired|timeout exceeded|time exceeded)\b|\bqueue\.expired\b/,
  /\bcould not be delivered for\b|\btoo long in (?:the )?queue\b|\bin the queue too long\b|\bfailing for a long time\b|\bgiving up\b.*\bseconds\b|\bfailed \d+ attempts\b|\bfor the last \d+ (?:seconds|hours|days)\b/,
];

/** Of an exchanger it means that the recipient is not there; of our relay, that it does not take this from us. */
const RECIPIENT_ACCESS_DENIED = /\brecipient address(?:es)? rejected ?:? access denied\b/;

const RFC3463 = 'RFC 3463 section 3';
const RFC5321 = 'RFC 5321 section 4.2.3';

/**
 * What the provider says in words. What is said of us or of the message comes before what is said of the mailbox:
 * `mailbox unavailable` also stands in refusals of a listed sender (RFC 5321 gives 550 both meanings), while no server
 * that knows its mailbox to be missing adds that our address is on a blocklist.
 */
export const WORD_RULES: readonly Rule[] = [
  // --- What the words say of the mailbox's state ---
  {
    name: 'system storage',
    source: `${RFC3463}.4, X.3.1`,
    category: 'system',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(/\binsufficient (?:system|disk) (?:storage|space|resources)\b/),
  },
  {
    name: 'receiving too fast',
    source: 'https://support.google.com/a/answer/3726730 (ReceivingRate)',
    category: 'rate_limit',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(/\breceiving (?:mail|email|messages) (?:at a rate|too (?:quickly|fast))/),
  },
  {
    name: 'rate limit on us',
    source:
      'https://support.google.com/a/answer/3726730; https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online',
    category: 'rate_limit',
    permanent: 'soft',
    fault: 'ours',
    matches: says(...RATE_LIMITED),
  },
  {
    // Also where the code says 5.1.1 (Orange 417) or 5.2.1 (Gmail's "out of storage space and inactive").
    name: 'mailbox full in words',
    source: `${RFC3463}.3, X.2.2; https://support.google.com/mail/?p=OverQuotaPerm`,
    category: 'mailbox_full',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(...MAILBOX_FULL),
  },
  {
    name: 'greylisting',
    source: 'RFC 6647',
    category: 'greylisting',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(/\bgr[ea]y-?list|\bpostgrey\b/),
  },
  {
    name: 'message too large in words',
    source: `${RFC3463}.3 and 3.4, X.2.3 and X.3.4`,
    category: 'message_too_large',
    permanent: 'rejected',
    fault: 'recipient',
    matches: says(...TOO_LARGE),
  },
  // --- What the words say of us ---
  {
    // Exchange lets some mailboxes and groups take mail from its own people only.
    name: 'recipient takes mail from some only',
    source:
      'https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online (5.7.124, 5.7.133)',
    category: 'policy',
    permanent: 'rejected',
    fault: 'recipient',
    matches: any(says(/\bresolver\.rst\b/), enhanced(/^7\.(?:12|13)\d$/)),
  },
  {
    // The sending provider's own list, where complaints stand too: it did not ask whether there is a mailbox.
    name: 'on a suppression list',
    source: 'https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list.html',
    category: 'policy',
    permanent: 'rejected',
    fault: 'recipient',
    matches: says(
      /\b(?:is|was|are) (?:already )?on (?:(?:the|your|our|an?) )?(?:[\w-]+ )?suppression list\b/,
    ),
  },
  {
    name: 'message authentication',
    source:
      'RFC 7372 section 3; https://support.google.com/mail/answer/81126; Exchange Online 5.7.509 and 5.7.515',
    category: 'authentication',
    permanent: 'rejected',
    fault: 'ours',
    matches: any(says(...MESSAGE_AUTHENTICATION), enhanced(/^7\.(?:2[0-46]|30|509|515)$/)),
  },
  {
    name: 'session not authenticated',
    source: 'RFC 4954 section 6',
    category: 'authentication',
    permanent: 'soft',
    fault: 'ours',
    matches: any(
      code(530, 534, 535, 538),
      says(
        /\bauthenticat\w+ (?:is )?(?:required|needed)|\b(?:smtp|turn on|requires?|need) (?:smtp )?auth(?:entication)?\b|\bmust (?:first )?(?:authenticate|log ?in|issue a starttls)|\bunauthenticated senders?\b/,
      ),
    ),
  },
  {
    name: 'our sender refused',
    source: `${RFC3463}.2, X.1.7 and X.1.8`,
    category: 'policy',
    permanent: 'rejected',
    fault: 'ours',
    matches: any(says(...OUR_SENDER), enhanced(/^1\.[78]$/)),
  },
  {
    name: 'our host listed',
    source:
      'RFC 5782; https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online (5.7.606, 5.7.511)',
    category: 'reputation',
    permanent: 'soft',
    fault: 'ours',
    matches: any(
      all(
        any(
          says(...OUR_HOST_LISTED),
          links(
            /dnsbl|spamhaus|spamcop|sorbs|uribl|surbl|barracuda|cloudmark|senderbase|ipcheck|senderscore/,
          ),
        ),
        not(says(/\bthe account or domain may not exist\b/)),
      ),
      enhanced(/^7\.(?:25|511|60[6-9]|70[58]|750|6[1-4]\d|650)$/),
    ),
  },
  {
    name: 'poor reputation',
    source: 'https://support.google.com/mail/answer/188131; https://senders.yahooinc.com/smtp-error-codes/',
    category: 'reputation',
    permanent: 'rejected',
    fault: 'ours',
    matches: says(/\breputation\b|\bcomplaints?\b/),
  },
  {
    name: 'spam, virus or malformed',
    source: `${RFC3463}.7 and 3.8, X.6.x and X.7.x`,
    category: 'content',
    permanent: 'rejected',
    fault: 'recipient',
    matches: says(...SPAM_OR_VIRUS),
  },
  // --- What the words say of the address ---
  {
    // A suspended mailbox may come back; the limit of consecutive exhausted sends ends it where it does not.
    name: 'mailbox inactive in words',
    source: `${RFC3463}.3, X.2.1; https://support.google.com/mail/answer/6596 ("disabled", "inactive")`,
    category: 'mailbox_inactive',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(...MAILBOX_INACTIVE),
  },
  {
    // The domain's own server does not know the domain. Our relay would say the same when it does not know us.
    name: 'domain not served here',
    source: 'qmail-smtpd(8), control file rcpthosts',
    category: 'host_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: all(by('exchanger'), says(/\brcpthosts\b/)),
  },
  {
    name: 'relay refused',
    source: `${RFC3463}.8, X.7.1; RFC 5321 section 3.6.2`,
    category: 'relay_refused',
    permanent: 'soft',
    fault: 'ours',
    matches: any(
      says(
        /\brcpthosts\b|\brelay(?:ing)?(?: access| to \S+| mail)?(?: is| was)? (?:denied|not|prohibited|refused|rejected|forbidden)|\b(?:unable to|not? (?:permitted|allowed|authori[sz]ed) to|cannot|can't|do(?:es)? not|don't|no|not) relay(?:ing)?\b/,
      ),
      all(by('own_relay'), says(RECIPIENT_ACCESS_DENIED)),
    ),
  },
  {
    // Exchange Online's directory-based edge blocking, and Postfix's access table for recipients.
    name: 'recipient rejected: access denied',
    source:
      'https://learn.microsoft.com/exchange/mail-flow-best-practices/use-directory-based-edge-blocking (5.4.1)',
    category: 'user_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: all(says(RECIPIENT_ACCESS_DENIED), any(by('exchanger'), enhanced(/^4\.1$/))),
  },
  {
    name: 'domain accepts no mail',
    source: 'RFC 7504 (521, 556), RFC 7505 (null MX, X.1.10)',
    category: 'no_mail_accepted',
    permanent: 'hard',
    fault: 'recipient',
    matches: says(
      /\b(?:host|domain|\S+\.[a-z]{2,})\b(?:[^.;]|\.(?=\w)){0,30}\b(?:(?:does not|doesn't|never) (?:accept|receive)s?|not accepting)(?: any)? (?:e-?mail|mail)(?! from)|\bnull mx\b/,
    ),
  },
  {
    name: 'moved in words',
    source: `${RFC3463}.2, X.1.6; ${RFC5321}, 551`,
    category: 'mailbox_moved',
    permanent: 'hard',
    fault: 'recipient',
    matches: says(
      /\b(?:has|have) moved\b|\bhas been replaced by\b|\bno forwarding address\b|\bno longer (?:on|at|with|works?)\b|\bhas (?:changed|a new) (?:e-?mail )?address\b|\bnot our customer\b/,
    ),
  },
  {
    name: 'user unknown in words',
    source: `${RFC3463}.2, X.1.1; https://support.google.com/mail/?p=NoSuchUser; https://senders.yahooinc.com/smtp-error-codes/ (554 dd)`,
    category: 'user_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: any(
      says(...USER_UNKNOWN, /\bthe account or domain may not exist\b/),
      links(/[?&]p=nosuchuser\b/),
    ),
  },
  {
    name: 'expired in the queue',
    source: `${RFC3463}.5, X.4.7`,
    category: 'expired',
    permanent: 'soft',
    fault: 'recipient',
    matches: any(says(...EXPIRED), enhanced(/^4\.7$/)),
  },
  {
    name: 'network',
    source: `${RFC3463}.5, X.4.1 to X.4.3`,
    category: 'network',
    permanent: 'soft',
    fault: 'recipient',
    matches: says(...NETWORK),
  },
  {
    name: 'host unknown in words',
    source: `${RFC3463}.2 and 3.5, X.1.2 and X.4.4`,
    category: 'host_unknown',
    permanent: 'hard',
    fault: 'recipient',
    // What is refused by a rule (X.7.y) is our own host.
    matches: all(says(...HOST_UNKNOWN), not(enhanced(/^7\./))),
  },
  {
    // Outlook.com says so of unknown users with 5.5.0; with X.7.x or X.2.x the code tells that it means something else.
    name: 'mailbox unavailable',
    source: `${RFC5321}, 550`,
    category: 'user_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: all(
      says(/\bmail ?box (?:is )?(?:unavailable|not available)\b(?!\W+busy)/),
      not(says(/\b(?:busy|temporar|try again|later)/)),
      not(enhanced(/^[27]\./)),
      any(code(550, 551, 553, 554, 0)),
    ),
  },
  {
    name: 'routing loop',
    source: `${RFC3463}.5, X.4.6`,
    category: 'system',
    permanent: 'soft',
    fault: 'recipient',
    matches: any(says(/\btoo many hops\b|\bhop count\b|\b(?:mail|routing) loop/), enhanced(/^4\.(?:6|14)$/)),
  },
  {
    name: 'policy in words',
    source: `${RFC3463}.8, X.7.0 and X.7.1`,
    category: 'policy',
    permanent: 'rejected',
    fault: 'recipient',
    matches: any(says(...POLICY), all(says(...REFUSAL), not(enhanced(/^(?:[12]\.|4\.4$)/)))),
  },
];

/** What the enhanced status code says. */
export const ENHANCED_CODE_RULES: readonly Rule[] = [
  {
    name: 'X.1.1 and its kin',
    source: `${RFC3463}.2 (X.1.1, X.1.3), RFC 7505 (X.1.10)`,
    category: 'user_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: enhanced(/^1\.(?:1|3|10)$/),
  },
  {
    name: 'X.1.6',
    source: `${RFC3463}.2`,
    category: 'mailbox_moved',
    permanent: 'hard',
    fault: 'recipient',
    matches: enhanced(/^1\.6$/),
  },
  {
    name: 'X.1.2 and X.4.4',
    source: `${RFC3463}.2 and 3.5; Exchange Online 5.4.310`,
    category: 'host_unknown',
    permanent: 'hard',
    fault: 'recipient',
    matches: enhanced(/^(?:1\.2|4\.4|4\.310)$/),
  },
  {
    name: 'X.2.1',
    source: `${RFC3463}.3; RFC 5248 registry, X.7.13`,
    category: 'mailbox_inactive',
    permanent: 'soft',
    fault: 'recipient',
    matches: enhanced(/^(?:2\.1|7\.13)$/),
  },
  {
    name: 'X.2.2',
    source: `${RFC3463}.3`,
    category: 'mailbox_full',
    permanent: 'soft',
    fault: 'recipient',
    matches: enhanced(/^2\.2$/),
  },
  {
    name: 'X.2.3 and X.3.4',
    source: `${RFC3463}.3 and 3.4`,
    category: 'message_too_large',
    permanent: 'rejected',
    fault: 'recipient',
    matches: enhanced(/^(?:2\.3|3\.4)$/),
  },
  {
    name: 'RFC 7504',
    source: 'RFC 7504: 521 and 556',
    category: 'no_mail_accepted',
    permanent: 'hard',
    fault: 'recipient',
    matches: any(code(556), all(by('exchanger'), code(521), not(enhanced(/^[257]\./)))),
  },
  {
    name: 'X.2.x and X.3.x',
    source: `${RFC3463}.3 and 3.4`,
    category: 'system',
    permanent: 'soft',
    fault: 'recipient',
    matches: enhanced(/^[23]\./),
  },
  {
    name: 'X.4.x',
    source: `${RFC3463}.5`,
    category: 'network',
    permanent: 'soft',
    fault: 'recipient',
    matches: enhanced(/^4\./),
  },
  {
    name: 'X.6.x',
    source: `${RFC3463}.7`,
    category: 'content',
    permanent: 'rejected',
    fault: 'recipient',
    matches: enhanced(/^6\./),
  },
  {
    name: 'X.7.27',
    source: 'RFC 7505 section 4.2: the domain of our sender accepts no mail',
    category: 'policy',
    permanent: 'rejected',
    fault: 'ours',
    matches: enhanced(/^7\.27$/),
  },
  {
    name: 'X.7.x',
    source: `${RFC3463}.8`,
    category: 'policy',
    permanent: 'rejected',
    fault: 'recipient',
    matches: enhanced(/^7\./),
  },
];

/** What the reply code says. */
const REPLY_CODE_RULES: readonly Rule[] = [
  {
    name: '551',
    source: RFC5321,
    category: 'mailbox_moved',
    permanent: 'hard',
    fault: 'recipient',
    matches: all(code(551), inPhase('rcpt')),
  },
  {
    name: '552 and 452',
    source: RFC5321,
    category: 'mailbox_full',
    permanent: 'soft',
    fault: 'recipient',
    matches: all(code(552, 452), inPhase('rcpt')),
  },
  {
    name: 'too large by code',
    source: 'RFC 1870 section 6.1',
    category: 'message_too_large',
    permanent: 'rejected',
    fault: 'recipient',
    matches: all(code(552), inPhase('mail', 'data', 'message', 'final')),
  },
  {
    name: 'protocol',
    source: `${RFC5321}, 500 to 504, 555; ${RFC3463}.6`,
    category: 'protocol',
    permanent: 'rejected',
    fault: 'ours',
    matches: any(code(500, 501, 502, 503, 504, 555), enhanced(/^5\.[1-6]$/)),
  },
  {
    name: 'service not available',
    source: `${RFC5321}, 421, 451`,
    category: 'system',
    permanent: 'soft',
    fault: 'recipient',
    matches: code(421, 450, 451, 452, 454),
  },
  {
    name: 'refused without a telling reason',
    source: RFC5321,
    category: 'policy',
    permanent: 'rejected',
    fault: 'recipient',
    matches: (seen) => seen.code >= 500 || (seen.enhancedCode?.startsWith('5') ?? false),
  },
];

/** The rules, most telling first: the provider's words, then the enhanced status code, then the reply code. */
export const RULES: readonly Rule[] = [...WORD_RULES, ...ENHANCED_CODE_RULES, ...REPLY_CODE_RULES];
