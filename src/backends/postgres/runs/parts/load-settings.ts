/** No trigger fires, no foreign key is checked, no row is hidden, and others' settings count no more. */
export const LOAD_SETTINGS =
  "SET LOCAL session_replication_role = 'replica'; SET LOCAL row_security = off; SET LOCAL client_min_messages = 'warning'";
