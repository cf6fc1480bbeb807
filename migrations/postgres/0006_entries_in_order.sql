-- Entries lie as they came here from the beginning.
SELECT 1;
