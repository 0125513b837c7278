ALTER TABLE "outbox" ADD COLUMN "part" text GENERATED ALWAYS AS (case
  when message->>'type' = 'startSend' and message->>'goesOn' = 'true' then 'under_way'
  when message->>'type' = 'endSend' and message->>'oneOfMany' = 'true' then 'under_way'
  when message->>'type' in ('prospectsChanged') then 'changes'
  when message->>'type' in ('applyInbound', 'endSendsOfDomain', 'endSendsOfBroadcast', 'followAutomation', 'moveEnrollments', 'wakeHeldBack', 'wakePausedSends') then 'database'
  when message->>'type' in ('wakeSend', 'wakeEnrollment') then 'under_way'
  when message->>'type' in ('startSend', 'startEnrollment') then 'starts'
  else 'single' end) STORED NOT NULL;--> statement-breakpoint
CREATE INDEX "outbox_part" ON "outbox" USING btree ("part","id");