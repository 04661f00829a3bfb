DROP FUNCTION risk_resolve, risk_record, risks_record, risk_tell, risk_of_bank, risk_challenged, risk_get;
DROP TYPE judged;
DROP FUNCTION risk_json;
DROP TABLE risk_reviews, risk_journal;
