import { SalesforceError } from './errors.ts';
import { OBJECTS, type ObjectName } from './fields.ts';
import type { Org } from './org.ts';

/** What SOAP is used for: what REST has no resource for. */
export interface SoapAnswer {
  readonly status: number;
  readonly body: string;
}

/**
 * merge(), convertLead() and undelete() of the SOAP API, for requests as jsforce writes them.
 *
 * Source: SOAP API Developer Guide, sforce_api_calls_merge.htm, sforce_api_calls_convertlead.htm,
 * sforce_api_calls_undelete.htm; faults: sforce_api_calls_concepts_core_data_objects.htm.
 */
export function answerSoap(org: Org, envelope: string, isValid: (token: string) => boolean): SoapAnswer {
  try {
    if (!isValid(textOf(envelope, 'sessionId') ?? '')) {
      throw new SalesforceError('INVALID_SESSION_ID', 'Session expired or invalid');
    }
    return { status: 200, body: wrap(call(org, envelope)) };
  } catch (error) {
    if (!(error instanceof SalesforceError)) throw error;
    const { errorCode, message } = error;
    return {
      status: 500,
      body: wrap(
        `<soapenv:Fault><faultcode>sf:${errorCode}</faultcode><faultstring>${message}</faultstring></soapenv:Fault>`,
      ),
    };
  }
}

function call(org: Org, envelope: string): string {
  const merge = textOf(envelope, 'mergeRequests');
  if (merge !== null) {
    const master = textOf(merge, 'masterRecord') ?? '';
    const masterId = textOf(master, 'Id') ?? textOf(master, 'id') ?? '';
    const others = textsOf(merge, 'recordToMergeIds');
    org.merge(objectOfId(masterId), masterId, others);
    const merged = others.map((id) => `<mergedRecordIds>${id}</mergedRecordIds>`).join('');
    return result('merge', `<id>${masterId}</id>${merged}<success>true</success>`);
  }
  const convert = textOf(envelope, 'leadConverts');
  if (convert !== null) {
    const leadId = textOf(convert, 'leadId') ?? '';
    const contactId = org.convert(leadId, textOf(convert, 'contactId') ?? undefined);
    return result(
      'convertLead',
      `<leadId>${leadId}</leadId><contactId>${contactId}</contactId><success>true</success>`,
    );
  }
  if (envelope.includes('undelete>')) {
    const ids = textsOf(envelope, 'ids');
    for (const id of ids) org.undelete(objectOfId(id), id);
    return ids.map((id) => result('undelete', `<id>${id}</id><success>true</success>`)).join('');
  }
  throw new SalesforceError('UNSUPPORTED_API_VERSION', 'this call is not simulated');
}

function objectOfId(id: string): ObjectName {
  const found = Object.entries(OBJECTS).find(([, prefix]) => id.startsWith(prefix));
  if (found === undefined) throw new SalesforceError('MALFORMED_ID', `malformed id ${id}`);
  return found[0] as ObjectName;
}

function textsOf(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<(?:\\w+:)?${name}[^>]*>([\\s\\S]*?)</(?:\\w+:)?${name}>`, 'g'))].map(
    (match) => match[1]!,
  );
}

function textOf(xml: string, name: string): string | null {
  return textsOf(xml, name)[0] ?? null;
}

function result(name: string, content: string): string {
  return `<${name}Response><result>${content}</result></${name}Response>`;
}

function wrap(body: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" xmlns:sf="urn:fault.partner.soap.sforce.com"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
}
