-- I6: audit entries are only ever added, whoever asks.
create function audit_entry_only_grows() returns trigger language plpgsql as $$
begin
  raise exception 'audit entries are only ever added' using errcode = 'restrict_violation';
end $$;
--> statement-breakpoint
create trigger audit_entry_only_grows before update or delete on audit_entry
  for each row execute function audit_entry_only_grows();
--> statement-breakpoint
create trigger audit_entry_never_emptied before truncate on audit_entry
  for each statement execute function audit_entry_only_grows();
