ALTER TABLE "setting" ADD COLUMN "one_click_scope" text DEFAULT 'everything' NOT NULL;--> statement-breakpoint
ALTER TABLE "list" ADD COLUMN "private" boolean DEFAULT false NOT NULL;