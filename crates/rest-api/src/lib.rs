//! Bodies and paths of the REST API, and its typed client
