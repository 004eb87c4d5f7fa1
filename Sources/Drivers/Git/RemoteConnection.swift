internal import CLibGit2
internal import Glibc

/// A connection to the repository at a URL: asks what it has, then fetches some of it.
final class RemoteConnection {
    private let repository: Repository
    private let url: GitURL
    private let request: ReadRequest
    private let askPassphrase: @Sendable (String) -> String?
    private let report: (String) -> Void
    private let credentials: GitCredentials
    private let meter: TrafficMeter
    private var remote: OpaquePointer?
    /// Why it was stopped, where that was us.
    private var failure: GitFailure?

    init(
        _ repository: Repository,
        _ url: GitURL,
        _ request: ReadRequest,
        askPassphrase: @escaping @Sendable (String) -> String?,
        report: @escaping (String) -> Void
    ) {
        self.repository = repository
        self.url = url
        self.request = request
        self.askPassphrase = askPassphrase
        self.report = report
        credentials = GitCredentials(url, tokenFile: request.tokenFile)
        meter = TrafficMeter(limits: request.limits, url: url, report: report)
    }

    deinit {
        if let remote { git_remote_free(remote) }
    }

    /// - Parameter mayBeDamage: Whether it uses what is kept on this machine.
    private func run(mayBeDamage: Bool = false, _ body: () -> Int32) throws(Stop) {
        let status = body()
        if let failure = failure ?? meter.failure { throw .failure(failure) }
        guard status < 0 else { return }
        let stop = Stop.library(status)
        // What goes wrong over the network says nothing about what is kept here.
        throw mayBeDamage && stop.isAboutObjects ? stop : .failure(stop.failure(of: url))
    }

    /// Connects and reads what the server advertises.
    func references() throws(Stop) -> Advertisement {
        report("connecting to \(url.place)")
        try check(git_remote_create_anonymous(&remote, repository.pointer, url.address))
        var options = git_remote_connect_options()
        try check(git_remote_connect_options_init(&options, UInt32(GIT_REMOTE_CONNECT_OPTIONS_VERSION)))
        options.callbacks = try callbacks()
        options.proxy_opts.type = GIT_PROXY_AUTO
        // To the same host all the same, https alone: there it is the same certificate, and no login goes to another.
        options.follow_redirects = GIT_REMOTE_REDIRECT_NONE
        try run { git_remote_connect_ext(remote, GIT_DIRECTION_FETCH, &options) }
        var heads: UnsafeMutablePointer<UnsafePointer<git_remote_head>?>?
        var count = 0
        try run { git_remote_ls(&heads, &count, remote) }
        guard count <= request.limits.references else {
            meter.stop("it has \(count) branches and tags, more than \(request.limits.references)")
            throw .failure(meter.failure ?? GitFailure(.refused, "too many references"))
        }
        var found = Advertisement()
        for index in 0..<count {
            guard let head = heads?[index]?.pointee, let name = head.name else { continue }
            found.add(String(cString: name), head.oid.hexadecimal)
            if let target = head.symref_target, String(cString: name) == "HEAD" { found.headReference = String(cString: target) }
        }
        return found
    }

    /// Fetches references, `HEAD` or `refs/heads/main`, with their history, or with nothing but their newest commits.
    func fetch(_ references: [String], isShallow: Bool) throws(Stop) {
        report("fetching from \(url.place)")
        var options = git_fetch_options()
        try check(git_fetch_options_init(&options, UInt32(GIT_FETCH_OPTIONS_VERSION)))
        options.callbacks = try callbacks()
        options.proxy_opts.type = GIT_PROXY_AUTO
        options.follow_redirects = GIT_REMOTE_REDIRECT_NONE
        options.update_fetchhead = 0
        options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE
        // Over connections that keep their state libgit2 (1.8.4, for one) says what it wants twice, and the server hangs up.
        if isShallow, isStateless { _ = plumb_git_set_depth(&options, 1) }
        var specs = references.map { name -> UnsafeMutablePointer<CChar>? in
            strdup("+\(name):refs/plumb/\(name.hasPrefix("refs/") ? String(name.dropFirst(5)) : name)")
        }
        defer { for spec in specs { free(spec) } }
        let count = specs.count
        try specs.withUnsafeMutableBufferPointer { buffer throws(Stop) in
            var array = git_strarray(strings: buffer.baseAddress, count: count)
            try run(mayBeDamage: true) { git_remote_fetch(remote, &array, &options, nil) }
        }
    }

    private func callbacks() throws(Stop) -> git_remote_callbacks {
        var callbacks = git_remote_callbacks()
        try check(git_remote_init_callbacks(&callbacks, UInt32(GIT_REMOTE_CALLBACKS_VERSION)))
        // It lives as long as the remote, which is freed in deinit.
        callbacks.payload = Unmanaged.passUnretained(self).toOpaque()
        callbacks.credentials = { out, _, _, allowed, payload in
            guard let out, let connection = RemoteConnection.of(payload) else { return -1 }
            return connection.logIn(out, allowed)
        }
        callbacks.transfer_progress = { progress, payload in
            guard let progress, let connection = RemoteConnection.of(payload) else { return -1 }
            return connection.follow(progress.pointee)
        }
        callbacks.transport = { out, owner, payload in
            guard let payload else { return -1 }
            var definition = git_smart_subtransport_definition(
                callback: { out, transport, payload in
                    guard let out, let connection = RemoteConnection.of(payload) else { return -1 }
                    return connection.makeTransport(out, transport)
                },
                rpc: RemoteConnection.of(payload)?.isStateless == true ? 1 : 0,
                param: payload
            )
            return git_transport_smart(out, owner, &definition)
        }
        return callbacks
    }

    private static func of(_ payload: UnsafeMutableRawPointer?) -> RemoteConnection? {
        payload.map { Unmanaged<RemoteConnection>.fromOpaque($0).takeUnretainedValue() }
    }

    private var isStateless: Bool { url.scheme == .https || url.scheme == .http }

    private func makeTransport(
        _ out: UnsafeMutablePointer<UnsafeMutablePointer<git_smart_subtransport>?>,
        _ transport: UnsafeMutablePointer<git_transport>?
    ) -> Int32 {
        if url.scheme == .ssh {
            out.pointee = Traffic.make(
                .own { [unowned self] in
                    SSHTraffic.open(url, request, askPassphrase: askPassphrase) { [unowned self] in failure = failure ?? $0 }
                },
                meter: meter
            )
            return 0
        }
        var inner: UnsafeMutablePointer<git_smart_subtransport>?
        let status = isStateless ? git_smart_subtransport_http(&inner, transport, nil) : git_smart_subtransport_git(&inner, transport, nil)
        guard status == 0, let inner else { return min(status, -1) }
        out.pointee = Traffic.make(.library(inner), meter: meter)
        return 0
    }

    private func logIn(_ out: UnsafeMutablePointer<UnsafeMutablePointer<git_credential>?>, _ allowed: UInt32) -> Int32 {
        guard failure == nil else { return -1 }
        guard url.scheme == .https, allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT.rawValue != 0 else {
            failure = GitFailure(
                .denied,
                url.scheme == .https
                    ? "\(url.place) wants a login of a kind that is not supported; a name and a password or token is"
                    : "\(url.place) wants a login, and over \(url.scheme.rawValue):// anybody on the way could read it",
                fix: "Use https:// or ssh://."
            )
            return -1
        }
        do throws(GitFailure) {
            guard let login = try credentials.next() else { throw credentials.refusal }
            return git_credential_userpass_plaintext_new(out, login.user, login.password)
        } catch {
            failure = error
            return -1
        }
    }

    private func follow(_ progress: git_indexer_progress) -> Int32 {
        if Int(progress.total_objects) > request.limits.objects {
            meter.stop("it sends \(progress.total_objects) objects, more than \(request.limits.objects)")
            return -1
        }
        if progress.total_deltas > 0, progress.indexed_deltas == 0 { report("putting together what was received") }
        return 0
    }
}
