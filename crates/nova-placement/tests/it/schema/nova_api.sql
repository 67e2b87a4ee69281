-- Of Nova's database nova_api (release Zed): the tables that are read, with the columns that are read and some that must not be.
CREATE TABLE cell_mappings (
  id int(11) NOT NULL AUTO_INCREMENT,
  uuid varchar(36) NOT NULL,
  name varchar(255) DEFAULT NULL,
  transport_url text DEFAULT NULL,
  database_connection text DEFAULT NULL,
  disabled tinyint(1) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_cell_mappings0uuid (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci;
CREATE TABLE instance_mappings (
  id int(11) NOT NULL AUTO_INCREMENT,
  instance_uuid varchar(36) NOT NULL,
  cell_id int(11) DEFAULT NULL,
  project_id varchar(255) NOT NULL,
  queued_for_delete tinyint(1) DEFAULT NULL,
  user_id varchar(255) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_instance_mappings0instance_uuid (instance_uuid),
  KEY cell_id (cell_id),
  CONSTRAINT instance_mappings_ibfk_1 FOREIGN KEY (cell_id) REFERENCES cell_mappings (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci;
