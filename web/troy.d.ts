// The types of Troy's HTTP API, generated from its OpenAPI document. DO NOT EDIT.

export interface Pipeline {
  id: string;
  app_id: string;
  name: string;
  slug: string;
  status: Status;
  /** The status for people, such as `Ready for Deployment`. */
  status_name: string;
  /** Why the pipeline has a Failed status. */
  cause?: string;
  /** The address of the site. */
  url: string;
  host: string;
  live_deployment_id?: string;
  /** The place in the queue, while the pipeline's work waits for a worker; absent behind the first 1,000. */
  queue_position?: number;
  live?: Brief;
  next?: Brief;
  lock?: Lock;
  schedule?: Schedule;
  deletion?: Deletion;
  repository?: Repository;
  watch_paths: string[];
  cancel_running: boolean;
  build: BuildSettings;
  /** Why pushes are not built. */
  source_problem?: string;
  created_at: string;
  updated_at: string;
}

/** The request to delete a pipeline. */
export interface Deletion {
  /** Who requested it. */
  by: string;
  at: string;
  /** When it begins. Until then it can be undone; absent once it has begun. */
  due_at?: string;
}

export type Status = "pre_provisioned" | "provision_request" | "provisioning" | "failed_to_provision" | "ready_for_deployment" | "queued" | "deploying" | "deployed" | "failed_to_deploy" | "scheduled_for_deletion" | "deleting" | "failed_to_delete" | "deleted";

/** One of a pipeline's deployments. `live` is the live one, and `next` the one that is running or, if none is, has waited the longest. */
export interface Brief {
  id: string;
  number: number;
  kind: Kind;
  state: State;
  commit?: string;
  branch?: string;
  message?: string;
  /** The commit's author or the actor. */
  by: string;
  /** When it went live; before that, when it was started or created. */
  since: string;
}

export interface Lock {
  by: string;
  reason: string;
  at: string;
}

export interface Repository {
  provider: "github" | "bitbucket";
  full_name: string;
  branch?: string;
  root?: string;
}

export interface Cache {
  /** Which builds use it: `site`, `branch NAME` or `pull request NUMBER`. */
  scope: string;
  /** The package manager, such as `npm`. */
  manager: string;
  /** The size of all copies together. */
  bytes: number;
  /** When a build last used it. */
  used_at: string;
  /** How many machines keep it. */
  copies: number;
}

export interface BuildSettings {
  /** The command that installs dependencies. */
  install?: string;
  /** The command that builds. */
  build?: string;
  /** The command that runs the tests. */
  test?: string;
  /** The folder to publish, relative to the root folder. */
  output?: string;
  /** How page addresses end: `auto`, `always` or `never`. */
  trailing_slash?: string;
  /** Which pull requests have previews. `ready` leaves out drafts. The default is `all`. */
  pull_requests?: "all" | "ready" | "none";
  /** Whether pull requests of bots have no previews. */
  skip_bots?: boolean;
  /** Whether Troy keeps a comment with the previews on each pull request. */
  comment_previews?: boolean;
  /** How many minutes a build may take; 0 means the installation's limit. */
  minutes?: number;
  /** How much memory a build may use, in MiB; 0 means the installation's limit. */
  memory_mib?: number;
  /** How many CPUs a build may use; 0 means the installation's limit. */
  cpus?: number;
  /** How many processes and threads a build may run at once; 0 means the installation's limit. */
  processes?: number;
  /** Whether everyone can see the badge with the site's state, at `/badges/SLUG.svg`. */
  badge?: boolean;
  /** Whether hashed assets of earlier deployments stop being reachable when the next deployment goes live. */
  drop_assets?: boolean;
}

export interface BuildChange {
  install?: string | null;
  build?: string | null;
  test?: string | null;
  output?: string | null;
  trailing_slash?: string | null;
  pull_requests?: string | null;
  skip_bots?: boolean | null;
  comment_previews?: boolean | null;
  minutes?: number | null;
  memory_mib?: number | null;
  cpus?: number | null;
  processes?: number | null;
  badge?: boolean | null;
  drop_assets?: boolean | null;
}

export interface Deployment {
  id: string;
  pipeline_id: string;
  /** Counts per pipeline. */
  number: number;
  kind: Kind;
  state: State;
  /** Why it has this state. */
  cause?: string;
  /** What a waiting deployment needs from you. */
  hint?: string;
  /** The deployment whose files it publishes. */
  source_deployment_id?: string;
  message?: string;
  /** Who requested it. */
  actor: string;
  commit?: string;
  branch?: string;
  files: number;
  bytes: number;
  /** Whether the site is served from it now. */
  live: boolean;
  created_at: string;
  started_at?: string;
  finished_at?: string;
  /** The site's address, while the deployment is live. */
  url?: string;
  /** The deployment's own address, at which its files stay as long as they are kept. */
  address?: string;
  build?: Build;
}

export type Kind = "automated" | "release" | "rollback" | "promotion" | "preview";

export type State = "waiting" | "building" | "publishing" | "succeeded" | "failed" | "cancelled" | "superseded";

/** A preview of a pipeline's site. */
export interface Preview {
  /** The beginning of its host, such as `pr-12`. Unique for the pipeline. */
  label: string;
  kind: "pull_request" | "branch" | "release";
  state: "empty" | "needs_approval" | "waiting" | "building" | "publishing" | "ready" | "failed" | "removing" | "removed";
  /** The state for people. */
  state_name: string;
  /** Why it failed, needs an approval or was deleted. */
  cause?: string;
  host?: string;
  /** Its address. */
  url?: string;
  /** The number of the pull request. */
  pull_request?: number;
  /** The page of the pull request. */
  source_url?: string;
  branch?: string;
  title?: string;
  author?: string;
  /** The newest known commit. */
  commit?: string;
  /** Whether the author may write to the repository. */
  trusted: boolean;
  /** The number of its newest deployment. */
  deployment?: number;
  /** The number of the deployment that its address shows. */
  shown?: number;
  /** Since when. */
  shown_at?: string;
  /** Whether it neither expires nor makes room for others. */
  pinned: boolean;
  created_at: string;
  /** When its newest commit or files came. */
  pushed_at: string;
  /** When it is deleted unless something is pushed. */
  expires_at?: string;
  /** When its deletion was requested. */
  closed_at?: string;
}

/** Present in answers about one deployment once its build has begun. */
export interface Build {
  /** How often it was started. */
  attempt: number;
  /** Which commands run, and what decided that. */
  rule?: string;
  phases: Phase[];
  log_bytes: number;
  warnings?: string[];
}

export interface Phase {
  /** `download_source`, `install`, `build`, `test` or `archive`. */
  phase: string;
  command?: string;
  started: string;
  ended?: string;
  /** It is -1 if the command was killed. */
  exit_code?: number;
}

export interface Event {
  pipeline_id: string;
  /** Counts per pipeline, without gaps. */
  version: number;
  from?: Status;
  to: Status;
  to_name: string;
  cause?: string;
  actor: string;
  deployment_id?: string;
  time: string;
}

export interface Release {
  id: string;
  pipeline_id: string;
  /** One file for each digest that you must send. */
  missing: File[];
  /** With `brief`: you must send one file for each digest in the release, and `missing` is empty. */
  all_missing?: boolean;
  limits: {
    files: number;
    file_bytes: number;
    total_bytes: number;
  };
  expires_at: string;
  finalized: boolean;
  /** Whether you can upload files straight to the store. */
  direct: boolean;
  /** The limits of a request with many files. It is absent if Troy accepts none. */
  batch?: {
    files: number;
    /** The bytes of all its files, not compressed. */
    bytes: number;
  };
}

export interface AppRepository {
  provider: "github" | "bitbucket";
  full_name: string;
  /** Empty for a repository without commits. */
  default_branch: string;
  private: boolean;
}

export interface Detected {
  /** The program that generates the site, such as Astro. */
  generator?: string;
  root: string;
  /** Empty if nothing is installed. */
  install: string;
  /** Empty if nothing is built. */
  build: string;
  test: string;
  /** The folders in which the site may be after the build, the likeliest first. */
  outputs: string[];
  /** A sentence that lists the commands and what decided each. */
  why: string;
  /** Settings in the repository that Troy does not support. */
  notes?: string[];
}

export interface ConfigFile {
  name: "troy.toml" | "netlify.toml" | "vercel.json" | "firebase.json" | "wrangler.toml" | "wrangler.json" | "wrangler.jsonc";
  /** The tables `[site]`, `[[redirects]]` and `[[headers]]`. Of a wrangler file only the name counts: it selects the rules of Cloudflare. */
  text?: string;
}

export interface RulesReport {
  dialect: "netlify" | "cloudflare";
  /** The number of redirects and rewrites in force. */
  redirects: number;
  /** The number of paths with headers in force. */
  headers: number;
  /** The number of lines that are ignored or can't work, and of paths that are refused. */
  errors: number;
  /** The number of lines that probably do not do what was meant. */
  warnings: number;
  /** The number of lines that are obeyed and that people should know of, such as passwords. They are not problems. */
  notices: number;
  /** The first hundred errors, warnings and notices each. */
  problems: RulesProblem[];
  /** Whether a problem keeps the deployment from going live. */
  strict?: boolean;
  /** Whether the rules were compiled. False until the deployment is being published. */
  compiled: boolean;
  /** The number of problems and notices that are counted but not listed. */
  omitted: number;
}

export interface RulesProblem {
  /** The file, such as `_redirects`. Empty for the whole site. */
  file: string;
  /** The line from 1. 0 means the whole file. */
  line: number;
  severity: "error" | "warning" | "notice";
  code: string;
  message: string;
}

export interface Entry {
  /** The path of the file. That of a folder ends with a slash. */
  path: string;
  /** The number of files below the folder. Absent for a file. */
  files?: number;
  /** The bytes of the file or of all files below the folder. */
  size: number;
  /** The digest of the file. Absent for a folder. */
  sha256?: string;
}

export interface Sum {
  files: number;
  bytes: number;
}

export interface Change {
  path: string;
  change: "added" | "changed" | "removed";
  /** The bytes now; 0 if the file was removed. */
  size: number;
  /** The bytes before; 0 if the file was added. */
  size_before: number;
}

export interface File {
  path: string;
  sha256: Digest;
  size: number;
}

export type Digest = string;

export interface Domain {
  /** In lower case and punycode; `*.example.com` is a wildcard. */
  host: string;
  /** The host as people read it, if that differs. */
  unicode?: string;
  state: "waiting_for_dns" | "verifying" | "issuing" | "active" | "failing";
  /** The state for people, such as `Waiting for DNS`. */
  state_name: string;
  /** What is seen, what was expected and what to change, in one sentence. */
  reason?: string;
  /** Whether it is the site's address while it is active. */
  primary: boolean;
  /** The host to which it redirects. */
  redirect?: string;
  /** Absent if Troy does not end TLS for it. */
  certificate?: {
    state: "waiting" | "issuing" | "active" | "failed";
    /** When it expires. */
    not_after?: string;
    /** When Troy next requests one. */
    next_try?: string;
  };
  /** The DNS records to set. */
  records: DomainRecord[];
  created_at: string;
  created_by: string;
  /** When it got its state. */
  since: string;
  /** When the last check ended. */
  checked_at?: string;
  next_check_at: string;
  /** When it was active first. */
  active_at?: string;
  report?: DomainReport;
}

/** What DNS said at the last check. Only answers about one domain have it. */
export interface DomainReport {
  host?: string;
  /** The zone that has the host's records. */
  zone?: string;
  /** Whether the host is the zone's own name. */
  apex?: boolean;
  /** Who runs the zone's name servers. */
  provider?: {
    name?: string;
    apex_type?: string;
    hint?: string;
  };
  dnssec?: "unknown" | "unsigned" | "secure" | "bogus";
  /** The sentence of the most important finding. */
  headline?: string;
  /** Sorted by importance. */
  findings?: Array<{
    code?: string;
    severity?: "error" | "warning" | "info";
    sentence?: string;
  }>;
  /** The records that the host needs. */
  set?: DomainRecord[];
  /** The records that are in the way. */
  remove?: DomainRecord[];
  /** Whether the zone leads visitors to the site. */
  points?: boolean;
  /** Whether the zone has the challenge's TXT record. */
  proven?: boolean;
  /** When resolvers drop the old records that they have cached. */
  cached_until?: string;
  /** The answers of the zone's name servers. */
  authoritative?: DomainAnswer[];
  /** The answers of resolvers. */
  public?: DomainAnswer[];
  checked_at?: string;
  /** How many questions were asked. */
  queries?: number;
}

export interface DomainAnswer {
  /** The name of the name server, or the address of a resolver. */
  server?: string;
  address?: string;
  /** Such as `answered`, `no_data`, `nxdomain` or `timed_out`. */
  outcome?: string;
  /** Whether the answer leads to the target. */
  right?: boolean;
  records?: Array<{
    type?: string;
    name?: string;
    value?: string;
    /** The remaining time in seconds. */
    ttl?: number;
  }>;
  expires?: string;
}

export interface DomainRecord {
  /** `A`, `AAAA`, `CNAME`, `TXT`, or at an apex `ALIAS` or `ANAME`. */
  type: string;
  /** As providers' forms want it: relative to the zone, `@` for the apex. */
  name: string;
  full_name: string;
  value: string;
  /** In seconds. */
  ttl: number;
  purpose: "target" | "proof" | "certificate" | "in_the_way";
  /** Whether DNS has it. */
  found: boolean;
}

/**
 * Who may see the previews: everyone (`public`), those whom the passwords and networks admit (`password`), or people who are signed in to the
 * dashboard and may see the pipeline (`signed-in`).
 */
export type PreviewAccess = "public" | "password" | "signed-in";

/** Who may see a site. With networks, a visitor must come from one of them; with passwords, the visitor must know one of them. */
export interface Access {
  /** Whether there is a password or a network, or `previews` is `signed-in`. */
  protected: boolean;
  previews: PreviewAccess;
  /** What is protected: the site and its previews (`site`), or its previews alone. */
  scope: "site" | "previews";
  /** Whether the site is served this way. After a change it is false until a worker has applied it, and the site is served as before. */
  in_force: boolean;
  passwords: Array<{
    name: string;
    changed_at: string;
  }>;
  networks: string[];
  /** Absent if the site was never protected. */
  changed_at?: string;
  /** Why it is not in force, if an attempt to apply it failed. */
  problem?: string;
}

export interface Variable {
  name: string;
  /** The builds that get it: `all`, `production`, `preview`, or `preview:` and a branch. */
  context: string;
  secret: boolean;
  /** Absent for a secret. */
  value?: string;
  changed_at: string;
  /** In a list, why a value can't be shown. */
  problem?: string;
}

export type Role = "viewer" | "deployer" | "admin";

export interface Token {
  id: string;
  name: string;
  role: Role;
  /** It is null if the token is good for all pipelines. */
  pipelines: string[] | null;
  /** The slugs of those pipelines that exist. Only lists have them. */
  slugs?: string[];
  created_by: string;
  created_at: string;
  /** Accurate to the hour. */
  last_used_at?: string;
  expires_at?: string;
  expired: boolean;
  /** Whether it may publish nothing but previews. */
  previews_only?: boolean;
  /** Present only in the answer to its creation. */
  token?: string;
}

export interface Schedule {
  cron: string;
  zone: string;
  /** When it is due next. */
  next_at: string;
  /** When it was carried out last. */
  last_at?: string;
  /** Why the last time made no deployment. */
  problem?: string;
  set_by: string;
  set_at: string;
}

export interface DeployHook {
  id: string;
  name: string;
  /** Absent for the pipeline's branch. */
  branch?: string;
  created_at: string;
  created_by: string;
  last_used_at?: string;
  /** The address to call, which has the secret. Present only in the answer to its creation. */
  url?: string;
}

export type NotifierEvent = "deployment.failed" | "deployment.recovered" | "deployment.live" | "preview.waiting" | "domain.failing" | "quota.near" | "notifier.disabled";

export interface Notifier {
  id: string;
  /** Null for a notifier of all pipelines. */
  pipeline_id: string | null;
  /** The pipeline's. */
  slug?: string;
  kind: "webhook" | "slack" | "discord" | "teams" | "email";
  /** The host of its address with its last characters, such as `hooks.slack.com/…x7Qz`, or the addresses of e-mail. */
  label: string;
  events: NotifierEvent[];
  created_at: string;
  created_by: string;
  /** Attempts that failed since the last one that did not. */
  failures: number;
  /** When Troy disabled it; it gets no messages then. */
  disabled_at?: string;
  disabled_reason?: string;
  /** The key of Standard Webhooks (`whsec_…`). Only the answers to the creation and to a rotation have it. */
  signing_key?: string;
  /** Until when at least one key that was replaced signs too. */
  earlier_keys_until?: string;
}

export interface Delivery {
  /** Also the `webhook-id`. */
  id: string;
  pipeline_id: string | null;
  /** A notifier's event, or `test`. */
  event: string;
  /** What happened. */
  details: Record<string, unknown>;
  created_at: string;
  state: "waiting" | "delivered" | "failed";
  attempts: number;
  tried_at?: string;
  /** Of the last answer; 0 means that there was none. */
  status: number;
  /** What the last attempt got, shortened. */
  answer: string;
}

export interface Trust {
  id: string;
  provider: "github" | "gitlab" | "bitbucket";
  issuer: string;
  repository_id: string;
  owner_id: string;
  /** A full ref. Without it the rule accepts any, as below. */
  ref?: string;
  environment?: string;
  workflow?: string;
  previews_only: boolean;
  created_at: string;
  created_by: string;
}

export interface System {
  /** When this was true. */
  at: string;
  version: string;
  commit?: string;
  /** The version of Go. */
  go: string;
  /** The newest migration that was applied. */
  schema: number;
  /** When the last sweep finished. */
  swept_at: string;
  /** Whether Redis works. */
  redis: boolean;
  findings: Array<{
    part: string;
    said: string;
    /** What to do. Without it all is well. */
    remedy?: string;
  }>;
  workers: Array<{
    id: string;
    host: string;
    pid: number;
    version: string;
    /** How many quick tasks it runs at a time. */
    slots: number;
    build_slots: number;
    started_at: string;
    /** Accurate to five seconds. */
    seen_at: string;
    /** Whether it was not seen for 30 seconds. It was killed or can't reach Postgres. */
    silent: boolean;
    running: Array<{
      kind: string;
      subject_id: string;
      /** The slug. */
      pipeline?: string;
      /** The deployment's number. */
      number?: number;
    }>;
  }>;
  /** Troy's access to forges. */
  forges: Array<{
    provider: string;
    account: string;
    id: string;
    state: "active" | "suspended";
    changed_at: string;
  }>;
  /** The OpenID Connect issuer. Without it, people sign in with tokens. */
  sign_in?: {
    issuer: string;
    answers: boolean;
    groups: Array<{
      name: string;
      role: Role;
      /** Slugs; null means all. */
      pipelines: string[] | null;
    }>;
  };
  retention: {
    /** How many deployments of a pipeline are kept besides the live one. */
    deployments: number;
    carry_assets_seconds: number;
    uploads_valid_seconds: number;
    /** How long the ids of webhooks' deliveries are kept. */
    deliveries_days: number;
  };
}

export interface User {
  id: string;
  /** The name in events. */
  name: string;
  full_name?: string;
  /** Only if the issuer has verified it. */
  email?: string;
  role: Role;
  /** Slugs; null means all. */
  pipelines: string[] | null;
  /** The groups that gave the role. */
  groups: string[];
  signed_in_at: string;
  /** Whether the last sign-in is more than a day ago. */
  expired: boolean;
}

export interface Session {
  id: string;
  kind: "token" | "user";
  /** The id of the token or the user. */
  holder_id: string;
  /** The token's or the user's. */
  name: string;
  role: Role;
  created_at: string;
  /** Accurate to the minute. */
  seen_at: string;
  expires_at: string;
  /** The User-Agent. */
  browser: string;
}

export interface Storage {
  pipeline_id: string;
  /** The slug. */
  pipeline: string;
  name: string;
  /** How many deployments have files of their own. */
  deployments: number;
  files: number;
  bytes: number;
  /** As files, but files that deployments share count once, and unfinished releases count. */
  used_files: number;
  /** The bytes of these files. */
  used_bytes: number;
}

export interface Usage {
  pipeline_id: string;
  /** The bytes of all its files, also of unfinished releases. A file that several deployments share counts once. */
  bytes: number;
  /** The number of these files. */
  files: number;
  /** The number of unfinished releases. */
  open_releases: number;
  /** When Troy counted the files. Since then it added what was declared. */
  counted_at?: string;
  /** The limits that apply; 0 means no limit. */
  quota: {
    bytes: number;
    files: number;
    open_releases: number;
  };
  /** The pipeline's own limits; null is the installation's. */
  own_quota: {
    bytes: number | null;
    files: number | null;
    open_releases: number | null;
  };
}

export interface Pruning {
  dry_run: boolean;
  deployments: Array<{
    id: string;
    number: number;
    kind: string;
    state: string;
    message: string;
    files: number;
    bytes: number;
    created_at: string;
  }>;
  /** How many files become free: those that nothing else of the pipeline needs. */
  files: number;
  /** Their bytes. */
  bytes: number;
}

export interface Whoami {
  token: {
    id: string;
    name: string;
    role: Role;
    pipelines: string[] | null;
    slugs: string[] | null;
    expires_at?: string;
  };
  server: {
    url: string;
    version: string;
    commit?: string;
  };
}

export interface Outcome {
  outcome: "accepted" | "created" | "deletion_scheduled" | "build_started" | "ignored" | "duplicate";
  detail: string;
  pipeline_id?: string;
}

export interface Activity {
  time: string;
  actor: string;
  /** For example `pipeline.status`, which is an event of a pipeline, or `variable.set`. */
  action: string;
  /** The name of what was changed. */
  subject?: string;
  detail?: string;
  pipeline_id?: string;
  /** The slug. */
  pipeline?: string;
  from?: Status;
  to?: Status;
  to_name?: string;
  version?: number;
  deployment_id?: string;
  /** The deployment's number, as long as it exists. */
  number?: number;
  /** The address that the request came from. Only admins see it. */
  remote?: string;
}

export interface Work {
  kind: string;
  queue: string;
  subject_id: string;
  pipeline_id?: string;
  /** The slug. */
  pipeline?: string;
  /** The deployment's number, if the work is about one. */
  number?: number;
  state: WorkState;
  /** The state in words. */
  why: string;
  /** The place in the queue while it waits; absent behind the first 1,000. */
  position?: number;
  attempts: number;
  /** Why the last attempt failed. */
  cause?: string;
  /** When the work was requested. */
  since: string;
  due_at: string;
  /** If the worker does not report before, another one takes over. */
  lease_until?: string;
  /** The process that runs it. Only admins see it. */
  worker?: string;
  /** When the worker began. */
  claimed_at?: string;
}

export type WorkState = "running" | "waiting" | "failing" | "later";

export type QueueName = "builds" | "domains" | "forge" | "notifications" | "previews" | "quick" | "thumbnails";

export interface Queue {
  name: QueueName;
  kinds: string[];
  pause?: Lock;
  /** Whether Asynqmon paused it. This lasts until Redis loses it, or the queue is resumed. */
  paused_in_redis: boolean;
  /** Like the next two, only for tokens for all pipelines. */
  running?: number;
  due?: number;
  failing?: number;
  /** Whether there is more than was counted, 1,000 of each kind. */
  more?: boolean;
}

export interface Day {
  day: string;
  succeeded: number;
  failed: number;
  cancelled: number;
  superseded: number;
  /** Half of the builds took at most so many seconds. Absent if no build ended. */
  build_p50?: number;
  /** 95 % of them did. */
  build_p95?: number;
}

export interface Traffic {
  requests: number;
  /** Of the responses, without headers; on AWS with headers. */
  bytes: number;
  /** Responses with status 404 or 410. */
  not_found: number;
  /** Responses with status 500 or higher. */
  errors: number;
  /** Each day, the oldest first. */
  days: TrafficDay[];
  /** The 100 most requested paths that exist. */
  paths: TrafficPath[];
  /** The 50 most requested paths that do not exist. */
  missing: TrafficMissing[];
}

export interface TrafficDay {
  day: string;
  requests: number;
  /** Of the responses, without headers; on AWS with headers. */
  bytes: number;
  /** Responses with status 404 or 410. */
  not_found: number;
  /** Responses with status 500 or higher. */
  errors: number;
}

export interface TrafficPath {
  /** The escaped path without the query, cut off after 256 bytes. */
  path: string;
  requests: number;
  bytes: number;
  /** How many of the requests may belong to other paths. */
  error?: number;
}

export interface TrafficMissing {
  path: string;
  /** The host and the path of the page that links to it, or nothing. */
  referrer: string;
  requests: number;
  error?: number;
}

/** The `after` of the next page. The last page has none. */
export type Next = string;

/** An error as in RFC 9457. */
export interface Problem {
  /** A link to the description of the code. */
  type: string;
  /** The class of the error in words. */
  title: string;
  status: number;
  /** What is wrong and what to do. */
  detail: string;
  code: "invalid" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "precondition_failed" | "too_large" | "over_quota" | "unavailable" | "unsure" | "internal";
  /** The part of the request that is wrong. */
  field?: string;
  /** More lines, such as the first 1,000 missing files. */
  details?: string[];
  /** The answer's `X-Request-Id`, under which the log has the details. */
  request?: string;
  pipeline?: Pipeline;
  /** How many files of a batch were stored. */
  stored?: number;
  /** The same for clients that do not know RFC 9457. */
  error: {
    code: string;
    message: string;
    field?: string;
    details?: string[];
  };
}

/** The operations of the API by their ids. An error is answered with a Problem. */
export interface Operations {
  /** Describe the token of the request and the server. The token needs the role viewer. */
  whoami: {
    method: "GET";
    route: "/v1/whoami";
    answer: Whoami;
  };
  /** List pipelines, newest first. The token needs the role viewer. */
  listPipelines: {
    method: "GET";
    route: "/v1/pipelines";
    query?: {
      /** Lists only pipelines with this status. */
      status?: Status;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      pipelines: Pipeline[];
      next?: Next;
    };
  };
  /** Create a pipeline. The token needs the role admin. */
  createPipeline: {
    method: "POST";
    route: "/v1/pipelines";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      name: string;
      /** The first label of the site's host. By default it is made from the name. */
      slug?: string;
      /** The app that the pipeline belongs to. */
      app_id?: string;
      /** Whether to request provisioning at once. */
      provision?: boolean;
    };
    answer: Pipeline;
  };
  /** Describe a pipeline. The token needs the role viewer. */
  getPipeline: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Pipeline;
  };
  /** Change the source and the build settings. The token needs the role admin. */
  configurePipeline: {
    method: "PATCH";
    route: "/v1/pipelines/{pipeline}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** An ETag from an earlier answer, several of them, or `*`. */
      "If-Match"?: string;
    };
    body: {
      /** Where the source is; null disconnects the repository. */
      repository?: {
        /** `github` or `bitbucket`. */
        provider?: string | null;
        /** For example `team/blog`. */
        full_name?: string | null;
        /** The branch to build. Empty means the default branch of the repository. */
        branch?: string | null;
        /** The folder of the site's source. Empty means the whole repository. */
        root?: string | null;
      } | null;
      /** A push that changes no matching file is not built. */
      watch_paths?: string[] | null;
      /** Whether a newer commit stops the running build. */
      cancel_running?: boolean | null;
      build?: BuildChange | null;
    };
    answer: Pipeline;
  };
  /** Schedule the deletion of a pipeline and its site. The token needs the role admin. */
  deletePipeline: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** Whether the deletion begins at once. It also ends the grace period of an earlier request. */
      now?: boolean;
    };
    answer: Pipeline;
  };
  /** Request provisioning. The token needs the role admin. */
  provisionPipeline: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/provision";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: Record<string, never>;
    answer: Pipeline;
  };
  /** Read the picture of the site. The token needs the role viewer. */
  getThumbnail: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/thumbnail";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: unknown;
  };
  /** Undo the deletion of a pipeline. The token needs the role admin. */
  restorePipeline: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/restore";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: Record<string, never>;
    answer: Pipeline;
  };
  /** Count the requests to a site on the last days. The token needs the role viewer. */
  getTraffic: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/traffic";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** How many days. */
      days?: number;
    };
    answer: Traffic;
  };
  /** List the events of a pipeline, oldest first. The token needs the role viewer. */
  listEvents: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/events";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      events: Event[];
      next?: Next;
    };
  };
  /** Remove assets that the site keeps from earlier deployments. The token needs the role deployer. */
  purgePipeline: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/purge";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** A file, or a folder with a slash at the end. By default all kept assets. */
      path?: string;
    };
    answer: Pipeline;
  };
  /** Get what a pipeline stores and may store. The token needs the role viewer. */
  getStorage: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/storage";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Usage;
  };
  /** Set a pipeline's own limits. The token needs the role admin. */
  setQuota: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/quota";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    body: {
      bytes?: number | null;
      files?: number | null;
      open_releases?: number | null;
    };
    answer: Usage;
  };
  /** Remove the files of old deployments. The token needs the role deployer. */
  prunePipeline: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/prune";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** How many of the newest deployments stay. */
      keep?: number;
      /** Whether only to say what would be removed. */
      dry_run?: boolean;
    };
    answer: Pruning;
  };
  /** Lock a pipeline. The token needs the role deployer. */
  lockPipeline: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/lock";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      reason: string;
    };
    answer: Pipeline;
  };
  /** Unlock a pipeline. The token needs the role deployer. */
  unlockPipeline: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/lock";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Pipeline;
  };
  /** List the deployments of a pipeline, newest first. The token needs the role viewer. */
  listDeployments: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      deployments: Deployment[];
      next?: Next;
    };
  };
  /** Build and deploy a commit, or an uploaded source. The token needs the role deployer. */
  deploy: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/deployments";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** The full id of the commit. By default the head of the pipeline's branch. */
      commit?: string;
      /** The id of a release with all of its files, to build instead of a commit. In the order of their paths, the files are the parts of a tar under Zstandard with one folder at the top; each part has at most 8 MiB. */
      source?: string;
    };
    answer: Deployment;
  };
  /** Describe a deployment. The token needs the role viewer. */
  getDeployment: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    answer: Deployment;
  };
  /** List the files of a deployment. The token needs the role viewer. */
  listFiles: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/files";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    query?: {
      /** The folder to list, such as `assets/`; empty for the root. */
      folder?: string;
      /** Lists only files whose paths begin with this. Ignored with `folder`. */
      prefix?: string;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      files: Entry[];
      next?: Next;
    };
  };
  /** List what a deployment changed. The token needs the role viewer. */
  compareDeployments: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/compare";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    query?: {
      /** The number or the id of the deployment to compare with. By default the newest earlier one that went live and still has its files. */
      with?: string;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      /** The number of the deployment. */
      deployment: number;
      /** The number of the other one. Null if there is none; every file is then added. */
      with: number | null;
      added: Sum;
      changed: Sum;
      removed: Sum;
      unchanged: Sum;
      changes: Change[];
      next?: Next;
    };
  };
  /** Report the problems of a deployment's rules. The token needs the role viewer. */
  getRules: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/rules";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    answer: RulesReport;
  };
  /** Read or follow the log of a build. The token needs the role viewer. */
  getLog: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/log";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    query?: {
      /** The position in bytes at which to start. */
      from?: number;
    };
    header?: {
      /** The id of the last event that arrived. It takes precedence over `from`. */
      "Last-Event-ID"?: number;
    };
    answer: string;
  };
  /** Repeat a deployment that has ended. The token needs the role deployer. */
  retryDeployment: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/retry";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: Record<string, never>;
    answer: Deployment;
  };
  /** Cancel a deployment that is not live yet. The token needs the role deployer. */
  cancelDeployment: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/deployments/{deployment}/cancel";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id or the number of the deployment. */
      deployment: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: Record<string, never>;
    answer: Deployment;
  };
  /** Publish an earlier deployment again. The token needs the role deployer. */
  rollback: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/rollback";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** By default the one that was live before the live one. */
      deployment?: string;
    };
    answer: Deployment;
  };
  /** Publish any succeeded deployment. The token needs the role deployer. */
  promote: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/promote";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      deployment: string;
    };
    answer: Deployment;
  };
  /** Begin a release. The token needs the role deployer. */
  beginRelease: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/releases";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** With `true`, the answer has `all_missing` in place of a list of all files. */
      brief?: boolean;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** Required without `manifest` and `base`. With `base`, those that were added or changed. */
      files?: File[];
      /**
       * In place of `files`: they are those of the live deployment, and this is the SHA-256 of their list, which has a line
       * `<sha256> <size> <path>` for each file, in the order of the paths' bytes, each ended by a line feed. 409 means that the
       * live deployment has other files: list them.
       */
      manifest?: Digest;
      /**
       * The release has the files of the live deployment, except for those in `removed`, and those in `files` in addition to them or
       * in place of those with the same path. This is the SHA-256 of the live deployment's list, in the form of `manifest`. 409 means
       * that the live deployment has other files: list all files without `base`.
       */
      base?: Digest;
      /** With `base`, the paths of its files that the release does not have. */
      removed?: string[];
      message?: string;
      /** The rules in configuration files of the repository. `_redirects` and `_headers` are files of the site and not listed here. */
      config?: ConfigFile[];
      /** Whether a problem of the rules keeps the deployment from going live. */
      strict?: boolean;
    };
    answer: Release;
  };
  /** Describe a release and its missing files. The token needs the role viewer. */
  getRelease: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/releases/{release}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
    };
    answer: Release;
  };
  /** Sign uploads to the store. The token needs the role deployer. */
  signUploads: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/releases/{release}/uploads";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
    };
    body: {
      files: Digest[];
    };
    answer: {
      uploads: Array<{
        sha256: Digest;
        url: string;
        header: Record<string, string>;
      }>;
      expires_at: string;
    };
  };
  /** Upload many files. The token needs the role deployer. */
  uploadBatch: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/releases/{release}/files";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
    };
    query?: {
      /** With `refuse`, Troy stores neither a file whose content shows that it contains a secret (400) nor those after it. */
      secrets?: "refuse";
    };
    header?: {
      /** How the body is compressed. */
      "Content-Encoding"?: "zstd";
    };
    body: Blob | ArrayBuffer;
    answer: {
      /** How many files the body had. */
      stored: number;
    };
  };
  /** Find the files that are missing. The token needs the role deployer. */
  findMissingFiles: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/releases/{release}/missing";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
    };
    body: {
      files: Digest[];
    };
    answer: {
      missing: Digest[];
    };
  };
  /** Upload a file. The token needs the role deployer. */
  uploadFile: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/releases/{release}/files/{sha256}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
      /** The digest of the bytes. */
      sha256: Digest;
    };
    query?: {
      /** With `refuse`, Troy does not store a file whose content shows that it contains a secret (400). */
      secrets?: "refuse";
    };
    body: Blob | ArrayBuffer;
    answer: void;
  };
  /** Release an archive in one request. The token needs the role deployer. */
  releaseArchive: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/archive";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** A text to show with the deployment. */
      message?: string;
      /** Whether to publish it. */
      publish?: boolean;
      /** The id of the deployment that must be live, or `none`. */
      expect_live?: string;
      /** The label of a preview that is to show it. The site does not change then. */
      preview?: string;
      /** Refuse a site whose rules have problems. */
      strict?: boolean;
      /** The path of a secret to publish. It can be repeated. */
      allow_secret?: string[];
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: Blob | ArrayBuffer;
    answer: Deployment;
  };
  /** Turn a release into a deployment with the same id. The token needs the role deployer. */
  finalizeRelease: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/releases/{release}/finalize";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the release. */
      release: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** Whether to publish it. */
      publish?: boolean | null;
      /** The id of the deployment that must be live, or `none`. */
      expect_live?: string;
      /** The label of a preview that is to show it, such as `draft`. The site does not change then. It can't be combined with the others. */
      preview?: string;
    };
    answer: Deployment;
  };
  /** Show who may see a pipeline's site. The token needs the role viewer. */
  getAccess: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/access";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Access;
  };
  /** Let everyone see a pipeline's site. The token needs the role admin. */
  unprotectSite: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/access";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Access;
  };
  /** Add or change a password of a pipeline's site. The token needs the role admin. */
  setAccessPassword: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/access/passwords/{name}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** 1 to 40 lower-case letters, digits and hyphens. */
      name: string;
    };
    body: {
      /** At least 8 characters and at most 256 bytes, without control characters. */
      password: string;
      /** Says that the password is random and can't be guessed. Then it has at least 20 characters. On AWS, programs can send only generated passwords (Basic). */
      generated?: boolean;
    };
    answer: Access;
  };
  /** Remove a password of a pipeline's site. The token needs the role admin. */
  removeAccessPassword: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/access/passwords/{name}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** 1 to 40 lower-case letters, digits and hyphens. */
      name: string;
    };
    answer: Access;
  };
  /** Let visitors from a network see a pipeline's site. The token needs the role admin. */
  allowNetwork: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/access/networks";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** `203.0.113.0/24`, `2001:db8::/32` or a single address. */
      network: string;
    };
    answer: Access;
  };
  /** Remove a network from the list of a pipeline's site. The token needs the role admin. */
  disallowNetwork: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/access/networks";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query: {
      /** The network. */
      network: string;
    };
    answer: Access;
  };
  /** Set what the passwords and networks of a pipeline's site protect. The token needs the role admin. */
  setAccessScope: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/access/scope";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    body: {
      /** `site` protects the site and its previews, `previews` only the previews. */
      scope: "site" | "previews";
    };
    answer: Access;
  };
  /** Set who may see a pipeline's previews. The token needs the role admin. */
  setPreviewAccess: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/access/previews";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    body: {
      previews: PreviewAccess;
    };
    answer: Access;
  };
  /** List the custom domains of a pipeline's site. The token needs the role viewer. */
  listDomains: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/domains";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: {
      domains: Domain[];
    };
  };
  /** Add a custom domain to a pipeline's site. The token needs the role admin. */
  addDomain: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/domains";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** The domain, such as `www.example.com`, `bücher.example` or the wildcard `*.example.com`. */
      host: string;
      /** Whether the other one of an apex and its www host is added too. */
      pair?: boolean;
    };
    answer: {
      domains: Domain[];
    };
  };
  /** Show a custom domain, with what DNS said at the last check. The token needs the role viewer. */
  getDomain: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/domains/{host}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The domain, such as `www.example.com`. */
      host: string;
    };
    answer: Domain;
  };
  /** Remove a custom domain from a pipeline's site. The token needs the role admin. */
  removeDomain: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/domains/{host}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The domain, such as `www.example.com`. */
      host: string;
    };
    query?: {
      /** With `false`, the other one stays and serves the site itself. */
      pair?: boolean;
    };
    answer: {
      removed: string[];
    };
  };
  /** Check a custom domain now. The token needs the role deployer. */
  verifyDomain: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/domains/{host}/verify";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The domain, such as `www.example.com`. */
      host: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Domain;
  };
  /** Make a custom domain the address of a pipeline's site. The token needs the role admin. */
  makeDomainPrimary: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/domains/{host}/primary";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The domain, such as `www.example.com`. */
      host: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: {
      domains: Domain[];
    };
  };
  /** List the trust rules of a pipeline, oldest first. The token needs the role viewer. */
  listTrusts: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/trusts";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: {
      trusts: Trust[];
    };
  };
  /** Let the CI jobs of a repository get tokens of a pipeline. The token needs the role admin. */
  addTrust: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/trusts";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      provider: "github" | "gitlab" | "bitbucket";
      /** The issuer of the jobs' tokens; by default the one of GitHub or GitLab. Bitbucket has one for each workspace. */
      issuer?: string;
      /** The repository's id: the claim `repository_id`, `project_id` (GitLab) or `repositoryUuid` (Bitbucket). */
      repository_id: string;
      /** The owner's id: the claim `repository_owner_id`, `namespace_id` (GitLab) or `workspaceUuid` (Bitbucket). */
      owner_id: string;
      /** A branch, or a full ref such as `refs/tags/v1`. Empty means any, as below. */
      ref?: string;
      /** The environment's name, or at Bitbucket its UUID. */
      environment?: string;
      /** GitHub only: the workflow's file (`deploy.yml`), or the whole `job_workflow_ref` of a reusable workflow. */
      workflow?: string;
      /** Whether the jobs may publish nothing but previews. */
      previews_only?: boolean;
    };
    answer: Trust;
  };
  /** Remove a trust rule. The token needs the role admin. */
  removeTrust: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/trusts/{trust}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the rule. */
      trust: string;
    };
    answer: void;
  };
  /** Get when a pipeline deploys by itself. The token needs the role viewer. */
  getSchedule: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/schedule";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: Schedule;
  };
  /** Deploy the newest commit of a pipeline's branch at the times of a schedule. The token needs the role admin. */
  setSchedule: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/schedule";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    body: {
      /** The five fields of cron (minute, hour, day of the month, month, day of the week), or a name such as `@daily`. At least 10 minutes must be between two times. */
      cron: string;
      /** A time zone of the IANA database, such as `Europe/Berlin`. */
      zone?: string;
    };
    answer: Schedule;
  };
  /** Remove a pipeline's schedule. The token needs the role admin. */
  removeSchedule: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/schedule";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: void;
  };
  /** List the dependency caches of a pipeline's builds. The token needs the role viewer. */
  listCaches: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/cache";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: {
      caches: Cache[];
    };
  };
  /** Let the next builds of a pipeline and its previews start without a cache. The token needs the role deployer. */
  clearCaches: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/cache";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: void;
  };
  /** List the deploy hooks of a pipeline, oldest first. The token needs the role viewer. */
  listDeployHooks: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/hooks";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: {
      hooks: DeployHook[];
    };
  };
  /** Make an address at which anyone who knows it starts a deployment. The token needs the role admin. */
  createDeployHook: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/hooks";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** Who calls it. Events name it. */
      name: string;
      /** The branch to build. By default, and if it is the pipeline's branch, the site is deployed; another branch is shown in its preview. */
      branch?: string;
    };
    answer: DeployHook;
  };
  /** Delete a deploy hook. The token needs the role admin. */
  deleteDeployHook: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/hooks/{hook}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The id of the hook. */
      hook: string;
    };
    answer: void;
  };
  /** List the open previews of a pipeline's site. The token needs the role viewer. */
  listPreviews: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/previews";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      previews: Preview[];
      next?: Next;
    };
  };
  /** Build a branch and show it at an address of its own. The token needs the role deployer. */
  previewBranch: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/previews";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** A branch of the pipeline's repository. */
      branch: string;
    };
    answer: Preview;
  };
  /** Show a preview. The token needs the role viewer. */
  getPreview: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/previews/{label}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    answer: Preview;
  };
  /** Delete a preview. The token needs the role deployer. */
  deletePreview: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/previews/{label}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    answer: Preview;
  };
  /** Keep a preview from expiring and from making room for others. The token needs the role deployer. */
  pinPreview: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/previews/{label}/pin";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Preview;
  };
  /** Let a pinned preview expire. The token needs the role deployer. */
  unpinPreview: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/previews/{label}/unpin";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Preview;
  };
  /** Build the newest commit of a stranger. The token needs the role deployer. */
  approvePreview: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/previews/{label}/approve";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** The full id of the commit. */
      commit: string;
    };
    answer: Preview;
  };
  /** Publish the files that a preview shows as the site, without a build. The token needs the role deployer. */
  promotePreview: {
    method: "POST";
    route: "/v1/pipelines/{pipeline}/previews/{label}/promote";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** The preview, such as `pr-12`. */
      label: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body?: {
      /** The number of the deployment that the preview must show; otherwise nothing is published (412). */
      deployment?: number;
    };
    answer: Deployment;
  };
  /** List the variables of a pipeline by name and context. The token needs the role admin. */
  listVariables: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/variables";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
    };
    answer: {
      variables: Variable[];
    };
  };
  /** Describe a variable. The token needs the role admin. */
  getVariable: {
    method: "GET";
    route: "/v1/pipelines/{pipeline}/variables/{name}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** 1 to 128 capital letters, digits and `_`. */
      name: string;
    };
    query?: {
      /** The context of the value. It is required if the variable has several values. */
      context?: string;
    };
    answer: Variable;
  };
  /** Set a variable from the next build on. The token needs the role admin. */
  setVariable: {
    method: "PUT";
    route: "/v1/pipelines/{pipeline}/variables/{name}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** 1 to 128 capital letters, digits and `_`. */
      name: string;
    };
    body: {
      /** At most 32 KiB. A secret has at least 8 characters. */
      value: string;
      /** Whether the value is hidden in logs and answers. */
      secret?: boolean | null;
      /** The builds that get it: `all`, `production`, `preview`, or `preview:` and a branch. */
      context?: string | null;
    };
    answer: Variable;
  };
  /** Remove a variable. The token needs the role admin. */
  removeVariable: {
    method: "DELETE";
    route: "/v1/pipelines/{pipeline}/variables/{name}";
    path: {
      /** The id or the slug of the pipeline. */
      pipeline: string;
      /** 1 to 128 capital letters, digits and `_`. */
      name: string;
    };
    query?: {
      /** The context of the value. It is required if the variable has several values. */
      context?: string;
    };
    answer: void;
  };
  /** Describe the installation. The token needs the role admin. */
  getSystem: {
    method: "GET";
    route: "/v1/system";
    answer: System;
  };
  /** List the people who signed in with OpenID Connect, the last sign-in first. The token needs the role admin. */
  listUsers: {
    method: "GET";
    route: "/v1/users";
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      users: User[];
      next?: Next;
    };
  };
  /** Sign a user out everywhere. The token needs the role admin. */
  signOutUser: {
    method: "DELETE";
    route: "/v1/users/{user}";
    path: {
      /** The id of the user. */
      user: string;
    };
    answer: void;
  };
  /** List the browsers that are signed in, newest first. The token needs the role viewer. */
  listSessions: {
    method: "GET";
    route: "/v1/sessions";
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      sessions: Session[];
      next?: Next;
    };
  };
  /** Sign a browser out. The token needs the role viewer. */
  revokeSession: {
    method: "DELETE";
    route: "/v1/sessions/{session}";
    path: {
      /** The id of the session. */
      session: string;
    };
    answer: void;
  };
  /** List what pipelines store, the largest first. The token needs the role viewer. */
  listStorage: {
    method: "GET";
    route: "/v1/storage";
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      storage: Storage[];
      next?: Next;
    };
  };
  /** List notifiers, oldest first. The token needs the role admin. */
  listNotifiers: {
    method: "GET";
    route: "/v1/notifiers";
    query?: {
      /** Lists only what concerns the pipeline with this id or slug. */
      pipeline?: string;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      notifiers: Notifier[];
      next?: Next;
    };
  };
  /** Tell a webhook, a channel or people about events. The token needs the role admin. */
  addNotifier: {
    method: "POST";
    route: "/v1/notifiers";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** Its slug or id. Without it the notifier is told about all pipelines. */
      pipeline?: string;
      kind: "webhook" | "slack" | "discord" | "teams" | "email";
      /** Where messages go, for every kind but `email`. It is stored sealed and not shown again. */
      url?: string;
      /** Addresses, for `email`. */
      to?: string[];
      /** By default all except `deployment.live`. */
      events?: NotifierEvent[];
    };
    answer: Notifier;
  };
  /** Get a notifier. The token needs the role admin. */
  getNotifier: {
    method: "GET";
    route: "/v1/notifiers/{notifier}";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    answer: Notifier;
  };
  /** Remove a notifier with its deliveries. The token needs the role admin. */
  removeNotifier: {
    method: "DELETE";
    route: "/v1/notifiers/{notifier}";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    answer: void;
  };
  /** Enable a notifier that Troy has disabled. The token needs the role admin. */
  enableNotifier: {
    method: "POST";
    route: "/v1/notifiers/{notifier}/enable";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Notifier;
  };
  /** Give a webhook a new signing key. The token needs the role admin. */
  rotateNotifier: {
    method: "POST";
    route: "/v1/notifiers/{notifier}/rotate";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Notifier;
  };
  /** Send a test message. The token needs the role admin. */
  testNotifier: {
    method: "POST";
    route: "/v1/notifiers/{notifier}/test";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Delivery;
  };
  /** List what a notifier was sent in the last 30 days, newest first. The token needs the role admin. */
  listDeliveries: {
    method: "GET";
    route: "/v1/notifiers/{notifier}/deliveries";
    path: {
      /** The id of the notifier. */
      notifier: string;
    };
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      deliveries: Delivery[];
      next?: Next;
    };
  };
  /** Send a delivery again, with the same `webhook-id`. The token needs the role admin. */
  redeliver: {
    method: "POST";
    route: "/v1/notifiers/{notifier}/deliveries/{delivery}/redeliver";
    path: {
      /** The id of the notifier. */
      notifier: string;
      /** The id of the delivery. */
      delivery: string;
    };
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    answer: Delivery;
  };
  /** List tokens, newest first. The token needs the role admin. */
  listTokens: {
    method: "GET";
    route: "/v1/tokens";
    query?: {
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      tokens: Token[];
      next?: Next;
    };
  };
  /** Create a token. The token needs the role admin. */
  createToken: {
    method: "POST";
    route: "/v1/tokens";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      name: string;
      role: Role;
      /** Ids or slugs. Without it the token is good for all pipelines. */
      pipelines?: string[] | null;
      /** `never`, a day (`2027-01-31`), a time (RFC 3339) or a duration from now (`30d`, `12h`). */
      expires?: string;
    };
    answer: Token;
  };
  /** Revoke a token. The token needs the role admin. */
  revokeToken: {
    method: "DELETE";
    route: "/v1/tokens/{token}";
    path: {
      /** The id of the token. */
      token: string;
    };
    answer: void;
  };
  /** Exchange the token of a CI's issuer for a token of a pipeline. */
  exchangeToken: {
    method: "POST";
    route: "/v1/token";
    body: {
      /** The pipeline's slug or id. */
      pipeline: string;
      /** The ID token, a JWT of at most 16 KiB. */
      token: string;
    };
    answer: {
      token: string;
      expires_at: string;
      /** The pipeline's slug. */
      pipeline: string;
      /** Whether the token may publish nothing but previews, because of a pull request or of the rule. */
      previews_only: boolean;
    };
  };
  /** List what happened, newest first. The token needs the role viewer. */
  listActivity: {
    method: "GET";
    route: "/v1/activity";
    query?: {
      /** Lists only what concerns the pipeline with this id or slug. */
      pipeline?: string;
      /** Lists only what this actor did, such as `token ci`. */
      actor?: string;
      /** Lists only this action, such as `token.create`, the actions that begin with it, such as `token`, or the events with this status, such as `failed_to_deploy`. */
      what?: string;
      /** Lists only what has this text, in any case. */
      search?: string;
      /** Lists only what happened from then on: a day in UTC, a time, or a duration before now, such as `30d` or `12h`. */
      since?: string;
      /** Lists only what happened before. */
      until?: string;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      activity: Activity[];
      next?: Next;
      /** How far back a search has looked, if that is not the end. */
      until?: string;
    };
  };
  /** Send all that happened as JSON lines, newest first. The token needs the role viewer. */
  exportActivity: {
    method: "GET";
    route: "/v1/activity/export";
    query?: {
      /** Lists only what concerns the pipeline with this id or slug. */
      pipeline?: string;
      /** Lists only what this actor did, such as `token ci`. */
      actor?: string;
      /** Lists only this action, such as `token.create`, the actions that begin with it, such as `token`, or the events with this status, such as `failed_to_deploy`. */
      what?: string;
      /** Lists only what has this text, in any case. */
      search?: string;
      /** Lists only what happened from then on: a day in UTC, a time, or a duration before now, such as `30d` or `12h`. */
      since?: string;
      /** Lists only what happened before. */
      until?: string;
    };
    answer: string;
  };
  /** Count the deployments of each of the last 30 days. The token needs the role viewer. */
  getStats: {
    method: "GET";
    route: "/v1/stats";
    query?: {
      /** Lists only what concerns the pipeline with this id or slug. */
      pipeline?: string;
    };
    answer: {
      days: Day[];
      /** Whether a pipeline has more deployments than were counted: the newest 2,000, or fewer of many pipelines. */
      cut?: boolean;
    };
  };
  /** List the work that is not done yet. The token needs the role viewer. */
  listQueue: {
    method: "GET";
    route: "/v1/queue";
    query?: {
      /** Lists only what concerns the pipeline with this id or slug. */
      pipeline?: string;
      /** Lists only the work of this queue. */
      queue?: QueueName;
      /** Lists only the work of this kind. */
      kind?: string;
      /** Lists only the work in this state. */
      state?: WorkState;
      /** The maximum number of items. */
      limit?: number;
      /** The `next` of the previous page. */
      after?: string;
    };
    answer: {
      queue: Work[];
      next?: Next;
    };
  };
  /** Search the repositories of the installed apps. The token needs the role admin. */
  listRepositories: {
    method: "GET";
    route: "/v1/repositories";
    query?: {
      /** Lists only repositories whose names, such as `team/blog`, contain this text. */
      search?: string;
    };
    answer: {
      repositories: AppRepository[];
      /** Whether the list has every match. */
      complete: boolean;
      /** Which forges could not list theirs, and why. */
      problems: string[];
      /** How many forges are set up. */
      apps: number;
    };
  };
  /** Detect how a repository would be built. The token needs the role admin. */
  inspectRepository: {
    method: "GET";
    route: "/v1/repositories/{provider}/{owner}/{name}";
    path: {
      provider: "github" | "bitbucket";
      owner: string;
      name: string;
    };
    query?: {
      /** By default the repository's default branch. */
      branch?: string;
      /** The folder with the site's source. By default the whole repository. */
      root?: string;
    };
    answer: {
      provider: "github" | "bitbucket";
      full_name: string;
      default_branch: string;
      private: boolean;
      branch: string;
      /** The commit that was looked into. */
      commit: string;
      detected: Detected | null;
      /** Why nothing was detected. */
      problem?: string;
    };
  };
  /** Make waiting work due at once. The token needs the role deployer. */
  ringWork: {
    method: "POST";
    route: "/v1/queue/ring";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** For example `deployment:build`. */
      kind: string;
      subject_id: string;
    };
    answer: {
      id: string;
      kind?: string;
      result: string;
    };
  };
  /** Make work due at once with all of its attempts. The token needs the role deployer. */
  retryWork: {
    method: "POST";
    route: "/v1/queue/retry";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** For example `deployment:build`. */
      kind: string;
      subject_id: string;
    };
    answer: {
      id: string;
      kind?: string;
      result: string;
    };
  };
  /** List the queues. The token needs the role viewer. */
  listQueues: {
    method: "GET";
    route: "/v1/queues";
    answer: {
      queues: Queue[];
    };
  };
  /** Pause a queue. The token needs the role admin. */
  pauseQueue: {
    method: "PUT";
    route: "/v1/queues/{queue}/pause";
    path: {
      queue: string;
    };
    body: {
      reason: string;
    };
    answer: Queue;
  };
  /** Resume a queue. The token needs the role admin. */
  resumeQueue: {
    method: "DELETE";
    route: "/v1/queues/{queue}/pause";
    path: {
      queue: string;
    };
    answer: Queue;
  };
  /** Ring a task by hand. The token needs the role admin. */
  ringTask: {
    method: "POST";
    route: "/v1/tasks";
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      /** For example `pipeline:provision`. */
      kind: string;
      /** The pipeline. A `sweep` has none. */
      id?: string;
    };
    answer: {
      kind?: string;
      id?: string;
      result: string;
    };
  };
  /** Announce that an app was created or deleted. */
  sendAppEvent: {
    method: "POST";
    route: "/events/apps";
    body: {
      id: string;
      type: "Created" | "Deleted";
      time: string;
      app: {
        id: string;
        name?: string;
        repository?: {
          provider?: "github" | "bitbucket";
          full_name?: string;
          branch?: string;
          root?: string;
        } | null;
      };
    };
    answer: Outcome;
  };
  /** Deliver a message of Amazon SNS. */
  sendSNSMessage: {
    method: "POST";
    route: "/events/sns";
    body: string;
    answer: Outcome;
  };
  /** Start the deployment of a deploy hook. */
  callDeployHook: {
    method: "POST";
    route: "/hooks/deploy/{secret}";
    path: {
      /** The secret in the hook's address. */
      secret: string;
    };
    query?: {
      /** Why the hook is called. At most 200 characters are kept. */
      trigger_title?: string;
    };
    body?: unknown;
    answer: {
      deployment: string;
      number: number;
      state: string;
    };
  };
  /** Deliver a webhook of GitHub. */
  sendGitHubDelivery: {
    method: "POST";
    route: "/hooks/github";
    header: {
      "X-GitHub-Event": string;
      /** The id of the delivery. A repeated one changes nothing. */
      "X-GitHub-Delivery": string;
    };
    body: Record<string, unknown>;
    answer: Outcome;
  };
  /** Deliver a webhook of Bitbucket. */
  sendBitbucketDelivery: {
    method: "POST";
    route: "/hooks/bitbucket";
    header: {
      "X-Event-Key": string;
      /** The id of the delivery. A repeated one changes nothing. */
      "X-Request-UUID": string;
    };
    body: Record<string, unknown>;
    answer: Outcome;
  };
  /** Get the badge with the state of a pipeline's site. */
  getBadge: {
    method: "GET";
    route: "/badges/{badge}";
    path: {
      /** The pipeline's slug and `.svg`. */
      badge: string;
    };
    answer: string;
  };
  /** Report whether the process runs. */
  healthz: {
    method: "GET";
    route: "/healthz";
    answer: string;
  };
  /** Report whether Postgres, Redis and the schema are ready. */
  readyz: {
    method: "GET";
    route: "/readyz";
    answer: string;
  };
  /** Return metrics for Prometheus. The token needs the role viewer. */
  metrics: {
    method: "GET";
    route: "/metrics";
    answer: string;
  };
}
