-- Numbers that are free again are forgotten, the longest free ones first.
CREATE INDEX numbers_free ON numbers (free_at) WHERE free_at IS NOT NULL;
