-- Of the database of one of Nova's cells (release Zed): as in nova_api.sql.
CREATE TABLE instances (
  id int(11) NOT NULL AUTO_INCREMENT,
  user_id varchar(255) DEFAULT NULL,
  project_id varchar(255) DEFAULT NULL,
  vm_state varchar(255) DEFAULT NULL,
  host varchar(255) DEFAULT NULL,
  user_data mediumtext DEFAULT NULL,
  uuid varchar(36) NOT NULL,
  task_state varchar(255) DEFAULT NULL,
  node varchar(255) DEFAULT NULL,
  deleted int(11) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_instances0uuid (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci;
