package lint

// Code names a kind of finding. Codes are API: CI jobs count on them.
type Code string

// NotSeen is what tells of things that were not looked at. It is never more than
// information.
const NotSeen Code = "BG000"

// About is what is said of a code.
type About struct{ Title, Why, Mend string }

// Codes returns what there is to say of each code. docs/lint.md has a section for
// each, and no other.
func Codes() map[Code]About {
	all := make(map[Code]About, len(codes))
	for code, about := range codes {
		all[code] = about
	}
	return all
}

//nolint:lll // a table reads along its rows
var codes = map[Code]About{
	NotSeen: {
		"something was not looked at",
		"What is not among the files cannot be judged by them.",
		"Give the missing files too, or the /config_dump of the running Envoy, which has everything.",
	},
	"BG001": {
		"failure_mode_allow: an outage opens the gate",
		"While Bearergate cannot be asked, every request passes unauthenticated, and whoever can slow it down can bring that about.",
		"Set failure_mode_allow (failOpen) to false, and status_on_error to 503.",
	},
	"BG002": {
		"not every request is asked about",
		"A request that is not asked about, or whose refusal is only written down, reaches the upstream without a token.",
		"Remove shadow_mode, filter_enabled, filter_enabled_metadata and deny_at_disable; for a trial, use `enforce: false` of a rule.",
	},
	"BG003": {
		"a route or virtual host that asks nobody",
		"Its requests reach the upstream without a token, and with whatever identity headers the client chose; a path such as /public/..;/admin may lead an upstream elsewhere than Envoy.",
		"Remove `disabled`, and make the rule `access: public` in Bearergate; or put the first route of envoy/config/routes.yaml before it.",
	},
	"BG004": {
		"a header that Bearergate needs is not sent to it",
		"Without Authorization every request counts as one without a token; without a header that a condition reads, the condition does not hold.",
		"Add it to allowed_headers (headersToExtAuth), and take it out of disallowed_headers.",
	},
	"BG005": {
		"raw headers are off",
		"Repeated Authorization fields arrive as one, joined by a comma: Bearergate refuses them, but neither it nor your log can tell them from a broken token, and bytes that are no UTF-8 arrive as `!`.",
		"Set encode_raw_headers: true.",
	},
	"BG006": {
		"a filter before Bearergate answers, or rewrites what it decides by",
		"What answers before Bearergate is asked answers without a token; what rewrites the path or Authorization makes Bearergate decide about another request than the client's.",
		"Move the ext_authz filter before it.",
	},
	"BG007": {
		"a filter after Bearergate clears the route cache or changes identity headers",
		"A route chosen after the decision is one that nobody was asked about, and an identity header that another filter writes is no longer Bearergate's word.",
		"Move the filter before ext_authz, or take the clearing and the header out of it.",
	},
	"BG008": {
		"the route is chosen again after the decision",
		"No route is matched by an identity header, so clearing the route cache serves nothing, and lets a header change lead a request to a route that was not decided about.",
		"Set clear_route_cache (clearRouteCache, recomputeRoute) to false.",
	},
	"BG009": {
		"header names with underscores are let through",
		"Many upstreams read x_auth_sub as x-auth-sub. Bearergate removes each such spelling where it is asked, and only there.",
		"Set common_http_protocol_options.headers_with_underscores_action: REJECT_REQUEST.",
	},
	"BG010": {
		"paths are not normalised",
		"/public/..%2fadmin is /admin to some upstreams: Envoy, Bearergate and the upstream must read one path in one way. Bearergate refuses such paths with 400 where it is asked.",
		"Set normalize_path and merge_slashes to true, and path_with_escaped_slashes_action to REJECT_REQUEST.",
	},
	"BG011": {
		"the timeout does not fit",
		"Too short, and a slow authorization server turns into refusals before Bearergate may answer; too long, and a hung one holds every request.",
		"Set a timeout from 1 s to 10 s, not below request_timeout of the issuer.",
	},
	"BG012": {
		"the cluster of Bearergate",
		"gRPC is HTTP/2; on an open network whoever stands between reads tokens and can turn a refusal into an allow; a replica that is gone is found out by a health check, not by requests.",
		"Take the cluster of envoy/config/mutual-tls.yaml: http2_protocol_options, a transport_socket with TLS, and health_checks with grpc_health_check.",
	},
	"BG013": {
		"an HTTP service instead of gRPC",
		"Bearergate speaks gRPC only: every request would be refused, or pass with failure_mode_allow.",
		"Use grpc_service (envoyExtAuthzGrpc, extAuth.grpc).",
	},
	"BG014": {
		"transport_api_version is not V3",
		"Envoy has no other version any more, and refuses the configuration or calls a service that Bearergate does not have.",
		"Set transport_api_version: V3.",
	},
	"BG015": {
		"a bearergate.* key that does not exist",
		"Bearergate answers 500 for what it does not know, so that a typo opens nothing: the route is closed.",
		"Use bearergate.rule, .scopes, .audience or .issuer, with a name that the configuration has.",
	},
	"BG016": {
		"what sender-constrained tokens need is not sent",
		"A token that is bound to a key or a certificate is refused when the proof does not arrive.",
		"Add dpop to allowed_headers; set include_peer_certificate: true.",
	},
	"BG017": {
		"request bodies are sent to Bearergate",
		"It never reads them: Envoy buffers each body, answers 413 to long ones, and no upload or stream begins before its end.",
		"Remove with_request_body (bodyToExtAuth, includeRequestBodyInCheck).",
	},
	"BG018": {
		"an identity header is written from elsewhere",
		"Envoy adds headers after Bearergate was asked: the upstream takes the value for Bearergate's word.",
		"Use another name, or remove the header from request_headers_to_add.",
	},
	"BG019": {
		"validate_mutations is off",
		"Envoy's documentation calls the behaviour undefined when a header change is no valid HTTP.",
		"Set validate_mutations: true.",
	},
	"BG020": {
		"nobody is asked",
		"Every request of this listener reaches the upstream without a token.",
		"Add the ext_authz filter of envoy/config/envoy.yaml before the router, in each filter chain.",
	},
	"BG021": {
		"mutation rules refuse what Bearergate changes",
		"Without disallow_is_error the client's own header stays and passes for Bearergate's word; with it, every request that is allowed is answered 500.",
		"Let allow_expression match every identity header, with - and _ alike, and what else Bearergate sets or removes.",
	},
}
