//! The three services: context, parse, call, map.

use contract::identity::v1 as pb;
use contract::identity::v1::customer_service_server::{CustomerService, CustomerServiceServer};
use contract::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use contract::identity::v1::policy_service_server::{PolicyService, PolicyServiceServer};
use contract::identity::v1::tenant_service_server::{TenantService, TenantServiceServer};
use ctx::{Ctx, Open};
use serve::respond;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::api::wire;
use crate::logic::Identity;

type Answer<T> = Result<Response<T>, Status>;

/// Routes of the three services, without any layer.
pub fn routes(app: Identity) -> Routes {
    let grpc = Grpc { app };
    Routes::new(IdentityServiceServer::new(grpc.clone()))
        .add_service(CustomerServiceServer::new(grpc.clone()))
        .add_service(TenantServiceServer::new(grpc.clone()))
        .add_service(PolicyServiceServer::new(grpc))
}

#[derive(Clone)]
struct Grpc {
    app: Identity,
}

#[tonic::async_trait]
impl IdentityService for Grpc {
    async fn login(&self, req: Request<pb::LoginRequest>) -> Answer<pb::LoginResponse> {
        let open = Open::of(&req)?;
        let login = wire::login(req.into_inner())?;
        let session = self.app.login(&open, login).await?;
        Ok(Response::new(wire::session(session)))
    }

    async fn get_jwks(&self, _: Request<pb::GetJwksRequest>) -> Answer<pb::Jwks> {
        let keys = self.app.jwks().await?;
        Ok(Response::new(wire::jwks(&keys)))
    }

    async fn rotate_signing_key(&self, _: Request<pb::RotateSigningKeyRequest>) -> Answer<pb::Jwk> {
        let key = self.app.rotate_signing_key().await?;
        Ok(Response::new(wire::jwk(&key)))
    }

    async fn create_user(&self, req: Request<pb::CreateUserRequest>) -> Answer<pb::User> {
        let ctx = Ctx::of(&req)?;
        let (user, password) = wire::create_user(req.into_inner())?;
        let once = self.app.create_user(&ctx, user, password).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn get_user(&self, req: Request<pb::GetUserRequest>) -> Answer<pb::User> {
        let ctx = Ctx::of(&req)?;
        let user = wire::user_id(&req.get_ref().user_id)?;
        let user = self.app.get_user(&ctx, user).await?;
        Ok(Response::new(wire::user(user)))
    }

    async fn list_users(&self, req: Request<pb::ListUsersRequest>) -> Answer<pb::ListUsersResponse> {
        let ctx = Ctx::of(&req)?;
        let pb::ListUsersRequest { page_size, page_token } = req.into_inner();
        let (users, next) = self.app.list_users(&ctx, wire::page(page_size, page_token)?).await?;
        Ok(Response::new(wire::user_page(users, next)))
    }
}

#[tonic::async_trait]
impl CustomerService for Grpc {
    async fn get_customer(&self, req: Request<pb::GetCustomerRequest>) -> Answer<pb::User> {
        let ctx = Ctx::of(&req)?;
        let user = wire::user_id(&req.get_ref().user_id)?;
        Ok(Response::new(wire::user(self.app.get_user(&ctx, user).await?)))
    }

    async fn set_customer_standing(&self, req: Request<pb::SetCustomerStandingRequest>) -> Answer<pb::User> {
        let ctx = Ctx::of(&req)?;
        let (user, standing) = wire::set_standing(req.into_inner())?;
        Ok(Response::new(wire::user(self.app.set_standing(&ctx, user, standing).await?)))
    }
}

#[tonic::async_trait]
impl TenantService for Grpc {
    async fn create_tenant(&self, req: Request<pb::CreateTenantRequest>) -> Answer<pb::Tenant> {
        let open = Open::of(&req)?;
        let new = wire::create_tenant(req.into_inner())?;
        let tenant = self.app.create_tenant(open, new).await?;
        Ok(Response::new(wire::tenant(tenant)))
    }

    async fn get_tenant(&self, req: Request<pb::GetTenantRequest>) -> Answer<pb::Tenant> {
        let ctx = Ctx::of(&req)?;
        let tenant = wire::get_tenant(req.into_inner())?;
        let tenant = self.app.get_tenant(&ctx, tenant).await?;
        Ok(Response::new(wire::tenant(tenant)))
    }

    async fn list_tenants(&self, req: Request<pb::ListTenantsRequest>) -> Answer<pb::ListTenantsResponse> {
        let pb::ListTenantsRequest { page_size, page_token } = req.into_inner();
        let (tenants, next) = self.app.list_tenants(wire::page(page_size, page_token)?).await?;
        Ok(Response::new(wire::tenant_page(tenants, next)))
    }
}

#[tonic::async_trait]
impl PolicyService for Grpc {
    async fn get_policy(&self, req: Request<pb::GetPolicyRequest>) -> Answer<pb::TenantPolicy> {
        let ctx = Ctx::of(&req)?;
        Ok(Response::new(self.app.get_policy(&ctx).await?))
    }

    async fn update_policy(&self, req: Request<pb::UpdatePolicyRequest>) -> Answer<pb::TenantPolicy> {
        let ctx = Ctx::of(&req)?;
        let update = wire::update_policy(req.into_inner())?;
        Ok(Response::new(self.app.update_policy(&ctx, update).await?))
    }
}
