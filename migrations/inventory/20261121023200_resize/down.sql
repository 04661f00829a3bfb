DROP FUNCTION reservation_resize;
ALTER TABLE reservations DROP COLUMN revision;
