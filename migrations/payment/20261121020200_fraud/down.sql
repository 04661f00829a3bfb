DROP FUNCTION risk_resolve, risk_record, risk_challenged, risk_get;
DROP TABLE risk_reviews, risk_journal;
