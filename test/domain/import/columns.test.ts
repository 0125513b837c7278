import { describe, expect, it } from 'vitest';
import { columnsOf, resolveMapping } from '../../../domain/import/columns.ts';
import type { CustomField } from '../../../domain/prospectFields.ts';

const CUSTOM: CustomField[] = [
  { key: 'renewal', label: 'Renewal date', type: 'date', choices: [] },
  { key: 'seats', label: 'Seats', type: 'number', choices: [] },
];

describe('the columns of an import', () => {
  it.each([
    ['Salesforce', ['Email', 'First Name', 'Last Name', 'Mailing City', 'Email Opt Out'], 'emailOptOut'],
    ['HubSpot', ['E-mail', 'First name', 'Last name', 'City', 'Unsubscribed from all email'], 'emailOptOut'],
    ['snake case', ['email_address', 'first_name', 'last_name', 'city', 'opted_out'], 'emailOptOut'],
  ])('goes by the names of %s', (_, header, flag) => {
    expect(resolveMapping('prospects', header, {}, [])).toEqual({
      mapping: Object.fromEntries(
        header.map((name, index) => [name, ['email', 'firstName', 'lastName', 'city', flag][index]]),
      ),
    });
  });

  it('knows custom fields by key and by label', () => {
    expect(resolveMapping('prospects', ['email', 'RENEWAL DATE', 'custom.seats'], {}, CUSTOM)).toEqual({
      mapping: { email: 'email', 'RENEWAL DATE': 'custom.renewal', 'custom.seats': 'custom.seats' },
    });
  });

  it('leaves out what it does not know, what the person leaves out, and a second column for a field', () => {
    const header = ['Email', 'E-mail', 'Company', 'Shoe size', ''];
    const resolved = resolveMapping('prospects', header, { Company: null }, []);
    expect(resolved).toEqual({ mapping: { Email: 'email' } });
    expect(columnsOf(header, { Email: 'email' })).toEqual([{ index: 0, name: 'Email', field: 'email' }]);
  });

  it('does as the person says, before any well-known name', () => {
    expect(resolveMapping('prospects', ['Email', 'Contact'], { Contact: 'email' }, [])).toEqual({
      mapping: { Contact: 'email' },
    });
  });

  it.each([
    [['Name'], {}, '', 'no_address_column'],
    [['Email'], { Nmae: 'lastName' }, 'Nmae', 'unknown_column'],
    [['Email', 'X'], { X: 'lastname' }, 'X', 'unknown_field'],
    [['Email', 'X'], { X: 'custom.nothing' }, 'X', 'unknown_field'],
    [['Email', 'X'], { X: 'constructor' }, 'X', 'unknown_field'],
    [['Email', 'X', 'Y'], { X: 'city', Y: 'city' }, 'Y', 'field_twice'],
    [['Email', 'City', 'City'], {}, 'City', 'duplicate_column'],
  ])('refuses %j with %j', (header, overrides, column, code) => {
    const resolved = resolveMapping('prospects', header, overrides as Record<string, string>, []);
    expect(resolved).toMatchObject({ problems: [{ column, code }] });
  });

  it('takes suppressions of addresses or of domains', () => {
    expect(resolveMapping('suppressions', ['Domain', 'Reason', 'Comment'], {}, [])).toEqual({
      mapping: { Domain: 'domain', Reason: 'reason', Comment: 'note' },
    });
    expect(resolveMapping('suppressions', ['Reason'], {}, [])).toMatchObject({
      problems: [{ code: 'no_address_column' }],
    });
  });
});
