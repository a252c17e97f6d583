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
  /** Whether hashed assets of earlier deployments stop being reachable when the next deployment goes live. */
  drop_assets?: boolean;
}

export interface BuildChange {
  install?: string | null;
  build?: string | null;
  test?: string | null;
  output?: string | null;
  trailing_slash?: string | null;
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
  build?: Build;
}

export type Kind = "automated" | "release" | "rollback" | "promotion";

export type State = "waiting" | "building" | "publishing" | "succeeded" | "failed" | "cancelled" | "superseded";

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
  limits: {
    files: number;
    file_bytes: number;
    total_bytes: number;
  };
  expires_at: string;
  finalized: boolean;
  /** Whether you can upload files straight to the store. */
  direct: boolean;
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
  name: "troy.toml" | "netlify.toml" | "wrangler.toml" | "wrangler.json" | "wrangler.jsonc";
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
  /** The first hundred errors and the first hundred warnings. */
  problems: RulesProblem[];
  /** Whether a problem keeps the deployment from going live. */
  strict?: boolean;
  /** Whether the rules were compiled. False until the deployment is being published. */
  compiled: boolean;
  /** The number of problems that are counted but not listed. */
  omitted: number;
}

export interface RulesProblem {
  /** The file, such as `_redirects`. Empty for the whole site. */
  file: string;
  /** The line from 1. 0 means the whole file. */
  line: number;
  severity: "error" | "warning";
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

/** Who may see a site. With networks, a visitor must come from one of them; with passwords, the visitor must know one of them. */
export interface Access {
  /** Whether there is a password or a network. */
  protected: boolean;
  /** What is protected. It is `site`. */
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
  created_by: string;
  created_at: string;
  /** Accurate to the hour. */
  last_used_at?: string;
  expires_at?: string;
  expired: boolean;
  /** Present only in the answer to its creation. */
  token?: string;
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

export type QueueName = "builds" | "forge" | "quick" | "thumbnails";

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
  /** Of the responses, without headers. */
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
  /** Of the responses, without headers. */
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
  code: "invalid" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "precondition_failed" | "too_large" | "unavailable" | "unsure" | "internal";
  /** The part of the request that is wrong. */
  field?: string;
  /** More lines, such as the first 1,000 missing files. */
  details?: string[];
  /** The answer's `X-Request-Id`, under which the log has the details. */
  request?: string;
  pipeline?: Pipeline;
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
  /** Build and deploy a commit. The token needs the role deployer. */
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
    header?: {
      /** Troy carries out requests with the same token, key and body once within a day. The same key with another body is 409. */
      "Idempotency-Key"?: string;
    };
    body: {
      files: File[];
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
  /** List the variables of a pipeline by name. The token needs the role admin. */
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
    answer: {
      sessions: Session[];
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
