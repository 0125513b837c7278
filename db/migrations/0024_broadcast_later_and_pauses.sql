ALTER TABLE "broadcast" ADD COLUMN "paused_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "broadcast" ADD COLUMN "paused_milliseconds" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "broadcast_page" ADD COLUMN "open_from" timestamp (3) with time zone;