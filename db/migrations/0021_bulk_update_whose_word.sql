ALTER TABLE "bulk_update_row" ADD COLUMN "address_id" uuid;--> statement-breakpoint
ALTER TABLE "bulk_update_row" ADD COLUMN "way" text;--> statement-breakpoint
ALTER TABLE "bulk_update_row" ADD COLUMN "note" text;