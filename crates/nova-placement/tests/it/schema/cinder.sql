-- Of Cinder's database (release Zed): as in nova_api.sql.
CREATE TABLE volumes (
  deleted tinyint(1) DEFAULT NULL,
  id varchar(36) NOT NULL,
  project_id varchar(255) DEFAULT NULL,
  host varchar(255) DEFAULT NULL,
  status varchar(255) DEFAULT NULL,
  provider_auth varchar(256) DEFAULT NULL,
  volume_type_id varchar(36) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci;
