DROP FUNCTION message_retry, message_list, message_get, message_settle, messages_claim, messages_due, messages_create,
  message_json;
DROP TABLE attempts, messages;
