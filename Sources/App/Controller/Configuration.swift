/// What `plumb run` is told by the machine it runs on. What it keeps true comes from git; what it may do stands here, out of the reach of a push.
package struct Configuration: Sendable {
    package var source = Source()
    /// Where Plumb keeps what it records; nil: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/plumb`.
    package var dataDirectory: String?
    package var kubernetes = Kubernetes()
    package var ssh = SSH()
    package var policy = Policy()
    package var limits = Limits()
    package var webhooks: Webhooks?
    package var operations = Operations()
    package var socket = Socket()
    package var log = Log()
    package var fights = Fighting()
    package var leaderElection: LeaderElection?
    package var reports: Reports?

    package init() {}

    package struct Source: Sendable, Hashable {
        /// As the commands take it: a git URL, or a folder, which is read again at every poll.
        package var url = ""
        /// Branch, tag or commit; nil: the remote's HEAD.
        package var revision: String?
        /// Folder or file inside the repository.
        package var path: String?
        /// How often the remote is asked without a push having been announced.
        package var poll = Duration.seconds(300)
        /// The same once webhooks arrive.
        package var pollWithWebhooks = Duration.seconds(3600)
        /// How long one fetch may take.
        package var timeout = Duration.seconds(60)
        /// Whether a source that had specs may become empty.
        package var allowsEmpty = false
        package var tokenFile: String?
        package var authorityFile: String?
        /// Whose signatures count (OpenSSH's format); nil: signatures are not asked for.
        package var allowedSigners: String?
    }

    package struct Kubernetes: Sendable, Hashable {
        package var kubeconfig: String?
        package var context: String?
    }

    package struct SSH: Sendable, Hashable {
        package var identity: String?
        package var knownHosts: String?
        package var configuration: String?
    }

    /// What is done by itself, and what a path of the repository may be about.
    package struct Policy: Sendable, Hashable {
        package enum Mode: String, Sendable, Hashable, CaseIterable {
            /// What differs is changed.
            case auto
            /// What differs is reported.
            case report
        }

        package struct Rule: Sendable, Hashable {
            /// Path patterns (gitignore's syntax); empty: any.
            package var paths: [String] = []
            /// Kinds as in the specs; empty: any.
            package var kinds: [String] = []
            /// Globs of addresses; empty: any.
            package var targets: [String] = []
            package var mode = Mode.auto
        }

        /// What these paths may be about. A list that is not given: anything.
        package struct Permission: Sendable, Hashable {
            package var paths: [String] = []
            /// Globs of host names.
            package var hosts: [String]?
            /// Kubeconfig contexts.
            package var contexts: [String]?
            package var namespaces: [String]?
            package var kinds: [String]?
        }

        package var mode = Mode.auto
        /// The last rule that matches decides.
        package var rules: [Rule] = []
        /// Where there are any, a spec needs one that allows all it is about.
        package var allow: [Permission] = []
    }

    package struct Limits: Sendable, Hashable {
        /// Targets looked at or changed at the same time.
        package var concurrency = 32
        /// How long one target may take to answer.
        package var timeout = Duration.seconds(30)
        /// For a change that may cut the connection, before the host takes it back.
        package var confirmTimeout = Duration.seconds(30)
        /// Objects no longer declared that one pass may delete.
        package var maxDeletes = 10
        /// Hosts changed at the same time.
        package var maxUnavailable = 16
        /// Changes that may fail at one revision before nothing more is changed until the next one; nil: any number.
        package var maxFailures: Int?
        /// How often everything is looked at again, events or not.
        package var audit = Duration.seconds(600)
        /// How long what is under way may take once the end was asked for.
        package var shutdown = Duration.seconds(60)
        /// How long runs stay in the journal; the newest 1,000 stay in any case.
        package var history = Duration.seconds(90 * 86_400)
    }

    package struct Webhooks: Sendable, Hashable {
        package struct Provider: Sendable, Hashable {
            /// `github`, `gitlab`, `gitea`, `forgejo`, `bitbucket`, `generic`.
            package var forge: String
            /// One or two files, each with one secret: two while it is changed.
            package var secretFiles: [String]
        }

        package var listen = Address("127.0.0.1", 9465)
        package var certificateFile: String?
        package var keyFile: String?
        /// How the forge calls the repository, where that is not to be seen from the source's URL.
        package var repository: String?
        package var providers: [Provider] = []
    }

    package struct Operations: Sendable, Hashable {
        /// nil: not served.
        package var listen: Address? = Address("127.0.0.1", 9464)
    }

    package struct Socket: Sendable, Hashable {
        /// nil: `control.sock` in the data directory.
        package var path: String?
        /// Who may announce a push beside root and ourselves.
        package var group: String?
    }

    package struct Log: Sendable, Hashable {
        package enum Format: String, Sendable, CaseIterable {
            case text
            case json
        }

        package enum Level: String, Sendable, CaseIterable {
            case debug
            case info
            case warning
            case error
        }

        package var format = Format.text
        package var level = Level.info

        package init(format: Format = .text, level: Level = .info) {
            self.format = format
            self.level = level
        }
    }

    package struct Fighting: Sendable, Hashable {
        /// More reverts of one field than this …
        package var reverts = 5
        /// … within this time: contested.
        package var within = Duration.seconds(600)
        package var maximumBackoff = Duration.seconds(3600)
    }

    package struct LeaderElection: Sendable, Hashable {
        /// The Cluster's kubeconfig context; nil: as `kubernetes` says.
        package var context: String?
        package var namespace = "plumb"
        package var name = "plumb-controller"
        /// nil: the host's name and a random part.
        package var identity: String?
    }

    package struct Address: Sendable, Hashable, CustomStringConvertible {
        package var host: String
        package var port: Int

        package init(_ host: String, _ port: Int) {
            self.host = host
            self.port = port
        }

        package var isLoopback: Bool { host == "127.0.0.1" || host == "::1" || host == "localhost" || host.hasPrefix("127.") }

        package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }
}
