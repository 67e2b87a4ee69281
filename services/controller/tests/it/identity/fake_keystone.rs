//! A Keystone in memory: tokens, roles and trusts. Its statuses are those that a real one (Zed) was seen to give: a login on a
//! trust that is gone ends in 401 as a wrong password does, one on a trust whose user was disabled or lost a role in 403;
//! a trustee may not delete a trust, its own token may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use runtime::Entropy;
use serde_json::{Value, json};

/// Of the service identity, whose user is `holdfast`.
pub(crate) const PASSWORD: &str = "service-password-0123456789";
const HOLDFAST: &str = "holdfast";

/// A running Keystone.
pub(crate) struct FakeKeystone {
    pub(crate) url: String,
    house: Arc<Mutex<House>>,
}

#[derive(Default)]
struct House {
    url: String,
    /// Of users in projects.
    roles: BTreeMap<(String, String), BTreeSet<String>>,
    disabled: BTreeSet<String>,
    tokens: BTreeMap<String, Token>,
    trusts: BTreeMap<String, Value>,
    is_down: bool,
    /// The next trust is made, and nobody is told.
    loses_answer: bool,
    reads: usize,
    trust_logins: usize,
}

#[derive(Clone)]
struct Token {
    user: String,
    project: Option<String>,
    trust: Option<String>,
    /// An application credential that may not make trusts.
    is_restricted: bool,
}

type Shared = web::Data<Mutex<House>>;

impl FakeKeystone {
    pub(crate) fn start() -> Self {
        let house: Arc<Mutex<House>> = Arc::default();
        let data = web::Data::from(Arc::clone(&house));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/v3/auth/tokens", web::post().to(log_in))
                .route("/v3/auth/tokens", web::get().to(read_token))
                .route("/v3/OS-TRUST/trusts", web::post().to(make_trust))
                .route("/v3/OS-TRUST/trusts", web::get().to(list_trusts))
                .route("/v3/OS-TRUST/trusts/{id}", web::get().to(show_trust))
                .route("/v3/OS-TRUST/trusts/{id}", web::delete().to(delete_trust))
                .route("/v3/users/{id}", web::get().to(show_user))
                .route("/v3/role_assignments", web::get().to(list_assignments))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}/v3", server.addrs()[0]);
        house.lock().unwrap().url.clone_from(&url);
        tokio::spawn(server.run());
        Self { url, house }
    }

    /// Gives a user roles in a project, and a token.
    pub(crate) fn log_in(&self, user: &str, project: Option<&str>, roles: &[&str]) -> String {
        let mut house = self.house();
        if let Some(project) = project {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            house.roles.insert((user.to_owned(), project.to_owned()), roles);
        }
        let project = project.map(str::to_owned);
        house.issue(Token { user: user.to_owned(), project, trust: None, is_restricted: false })
    }

    /// A token of an application credential of the user.
    pub(crate) fn restricted_token(&self, user: &str, project: &str) -> String {
        let project = Some(project.to_owned());
        self.house().issue(Token { user: user.to_owned(), project, trust: None, is_restricted: true })
    }

    pub(crate) fn take_role(&self, user: &str, project: &str, role: &str) {
        self.house().roles.get_mut(&(user.to_owned(), project.to_owned())).unwrap().remove(role);
    }

    pub(crate) fn disable(&self, user: &str) {
        self.house().disabled.insert(user.to_owned());
    }

    /// With all trusts of theirs, as Keystone does.
    pub(crate) fn delete_user(&self, user: &str) {
        let mut house = self.house();
        house.roles.retain(|(name, _), _| name != user);
        house.trusts.retain(|_, trust| trust["trustor_user_id"] != user);
        house.tokens.retain(|_, token| token.user != user);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.house().tokens.remove(token);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.house().is_down = is_down;
    }

    pub(crate) fn lose_the_next_answer(&self) {
        self.house().loses_answer = true;
    }

    /// How often users' tokens were read.
    pub(crate) fn reads(&self) -> usize {
        self.house().reads
    }

    /// How often somebody asked for a token on a trust.
    pub(crate) fn trust_logins(&self) -> usize {
        self.house().trust_logins
    }

    /// All trusts, as they were made.
    pub(crate) fn trusts(&self) -> Vec<Value> {
        self.house().trusts.values().cloned().collect()
    }

    fn house(&self) -> MutexGuard<'_, House> {
        self.house.lock().unwrap()
    }
}

impl House {
    fn issue(&mut self, token: Token) -> String {
        let text = format!("token-{}", Entropy.uuid().simple());
        self.tokens.insert(text.clone(), token);
        text
    }

    /// The token in a header, while it holds.
    fn token(&self, request: &HttpRequest, header: &str) -> Option<Token> {
        let text = request.headers().get(header)?.to_str().ok()?;
        self.tokens.get(text).filter(|token| !self.disabled.contains(&token.user)).cloned()
    }

    fn roles_of(&self, token: &Token) -> BTreeSet<String> {
        let Some(project) = &token.project else { return BTreeSet::new() };
        let held = self.roles.get(&(token.user.clone(), project.clone())).cloned().unwrap_or_default();
        match &token.trust {
            Some(id) => held.intersection(&lent_roles(&self.trusts[id])).cloned().collect(),
            None => held,
        }
    }

    fn show(&self, token: &Token) -> Value {
        let domain = json!({ "id": "default", "name": "Default" });
        let roles = self.roles_of(token);
        let roles: Vec<Value> = roles.iter().map(|role| json!({ "id": role, "name": role })).collect();
        let mut shown = json!({ "token": {
            "methods": ["password"],
            "user": { "id": token.user, "name": token.user, "domain": domain },
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "roles": roles,
            "catalog": [{ "type": "identity", "endpoints":
                [{ "interface": "public", "region_id": "RegionOne", "url": self.url }] }],
        }});
        if let Some(project) = &token.project {
            shown["token"]["project"] = json!({ "id": project, "name": project, "domain": domain });
        }
        if let Some(trust) = &token.trust {
            shown["token"]["OS-TRUST:trust"] = json!({ "id": trust, "impersonation": true,
                "trustor_user": { "id": token.user }, "trustee_user": { "id": HOLDFAST } });
        }
        shown
    }
}

fn lent_roles(trust: &Value) -> BTreeSet<String> {
    trust["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap().to_owned()).collect()
}

fn refuse(status: u16, message: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    HttpResponse::build(status).json(json!({ "error": { "code": status.as_u16(), "message": message } }))
}

async fn log_in(house: Shared, body: web::Json<Value>) -> HttpResponse {
    let mut house = house.lock().unwrap();
    if house.is_down {
        return refuse(503, "down");
    }
    let auth = &body["auth"];
    let user = &auth["identity"]["password"]["user"];
    if user["name"] != HOLDFAST || user["password"] != PASSWORD {
        return refuse(401, "The request you have made requires authentication.");
    }
    let token = match auth["scope"]["OS-TRUST:trust"]["id"].as_str() {
        None => Token {
            user: HOLDFAST.to_owned(),
            project: Some("service".to_owned()),
            trust: None,
            is_restricted: false,
        },
        Some(id) => {
            house.trust_logins += 1;
            let Some(trust) = house.trusts.get(id).cloned() else {
                return refuse(401, "The request you have made requires authentication.");
            };
            let (user, project) =
                (trust["trustor_user_id"].as_str().unwrap(), trust["project_id"].as_str().unwrap());
            let held = house.roles.get(&(user.to_owned(), project.to_owned())).cloned().unwrap_or_default();
            if house.disabled.contains(user) || !lent_roles(&trust).is_subset(&held) {
                return refuse(403, "You are not authorized to perform the requested action.");
            }
            let project = Some(project.to_owned());
            Token { user: user.to_owned(), project, trust: Some(id.to_owned()), is_restricted: false }
        }
    };
    let shown = house.show(&token);
    let text = house.issue(token);
    HttpResponse::Created().insert_header(("X-Subject-Token", text)).json(shown)
}

async fn read_token(house: Shared, request: HttpRequest) -> HttpResponse {
    let mut house = house.lock().unwrap();
    if house.is_down {
        return refuse(503, "down");
    }
    house.reads += 1;
    if house.token(&request, "X-Auth-Token").is_none() {
        return refuse(401, "The request you have made requires authentication.");
    }
    match house.token(&request, "X-Subject-Token") {
        Some(token) => HttpResponse::Ok().json(house.show(&token)),
        None => refuse(404, "Could not recognize Fernet token"),
    }
}

async fn make_trust(house: Shared, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let mut house = house.lock().unwrap();
    let Some(token) = house.token(&request, "X-Auth-Token") else { return refuse(401, "no token") };
    let mut trust = body["trust"].clone();
    if token.is_restricted || token.trust.is_some() || trust["trustor_user_id"] != token.user.as_str() {
        return refuse(403, "Delegated tokens cannot manage trusts.");
    }
    if let Some(role) = lent_roles(&trust).difference(&house.roles_of(&token)).next() {
        return refuse(404, &format!("Could not find role: {role}."));
    }
    let id = Entropy.uuid().simple().to_string();
    trust["id"] = id.clone().into();
    house.trusts.insert(id, trust.clone());
    if std::mem::take(&mut house.loses_answer) {
        return refuse(502, "the answer was lost");
    }
    HttpResponse::Created().json(json!({ "trust": trust }))
}

/// Without roles, as Keystone lists them.
async fn list_trusts(house: Shared, request: HttpRequest) -> HttpResponse {
    let house = house.lock().unwrap();
    let Some(token) = house.token(&request, "X-Auth-Token") else { return refuse(401, "no token") };
    if !request.query_string().contains(&format!("trustor_user_id={}", token.user)) || token.is_restricted {
        return refuse(403, "You are not authorized to perform the requested action: identity:list_trusts.");
    }
    let own = house.trusts.values().filter(|trust| trust["trustor_user_id"] == token.user.as_str());
    let bare = own.map(|trust| {
        let mut trust = trust.clone();
        trust.as_object_mut().unwrap().remove("roles");
        trust
    });
    HttpResponse::Ok().json(json!({ "trusts": bare.collect::<Vec<_>>() }))
}

async fn show_trust(house: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let house = house.lock().unwrap();
    if house.token(&request, "X-Auth-Token").is_none() {
        return refuse(401, "no token");
    }
    match house.trusts.get(&*id) {
        Some(trust) => HttpResponse::Ok().json(json!({ "trust": trust })),
        None => refuse(404, &format!("Could not find trust: {id}.")),
    }
}

async fn delete_trust(house: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let mut house = house.lock().unwrap();
    let Some(token) = house.token(&request, "X-Auth-Token") else { return refuse(401, "no token") };
    let Some(trust) = house.trusts.get(&*id) else {
        return refuse(404, &format!("Could not find trust: {id}."));
    };
    if trust["trustor_user_id"] != token.user.as_str() && !house.roles_of(&token).contains("admin") {
        return refuse(403, "You are not authorized to perform the requested action: identity:delete_trust.");
    }
    house.trusts.remove(&*id);
    HttpResponse::NoContent().finish()
}

/// Shown to administrators, and to the user.
async fn show_user(house: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let house = house.lock().unwrap();
    let Some(token) = house.token(&request, "X-Auth-Token") else { return refuse(401, "no token") };
    if token.user != *id && !house.roles_of(&token).contains("admin") {
        return refuse(403, "You are not authorized to perform the requested action: identity:get_user.");
    }
    let enabled = !house.disabled.contains(&*id);
    HttpResponse::Ok().json(json!({ "user": { "id": *id, "enabled": enabled } }))
}

async fn list_assignments(
    house: Shared,
    request: HttpRequest,
    query: web::Query<BTreeMap<String, String>>,
) -> HttpResponse {
    let house = house.lock().unwrap();
    let Some(token) = house.token(&request, "X-Auth-Token") else { return refuse(401, "no token") };
    if !house.roles_of(&token).contains("admin") {
        return refuse(
            403,
            "You are not authorized to perform the requested action: identity:list_role_assignments.",
        );
    }
    let held = house.roles.get(&(query["user.id"].clone(), query["scope.project.id"].clone()));
    let rows = held.into_iter().flatten().map(|role| json!({ "role": { "id": role, "name": role } }));
    HttpResponse::Ok().json(json!({ "role_assignments": rows.collect::<Vec<_>>() }))
}
