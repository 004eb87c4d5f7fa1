package import ResourceModel
import YAML

extension Configuration {
    /// Reads a configuration file strictly.
    ///
    /// - Throws: every mistake there is, each with its place.
    package init(yaml bytes: [UInt8], file: String) throws(ConfigurationMistakes) {
        self.init()
        let (documents, failure) = parseYAML(bytes, file: file)
        if let failure { throw ConfigurationMistakes(diagnostics: [Diagnostic(failure.message, at: failure.position, fix: failure.fix)]) }
        let start = SourcePosition(file: file, line: 1, column: 1)
        guard let root = documents.first else {
            throw ConfigurationMistakes(diagnostics: [Diagnostic("the file is empty", at: start, fix: "It needs at least 'source: {url: …}'.")])
        }
        if documents.count > 1 {
            let fix = "One file is one configuration; take out the '---'."
            throw ConfigurationMistakes(diagnostics: [Diagnostic("there is more than one document", at: documents[1].position, fix: fix)])
        }
        var decoder = SpecDecoder(root)
        decode(&decoder)
        let diagnostics = decoder.finish()
        guard diagnostics.isEmpty else { throw ConfigurationMistakes(diagnostics: diagnostics) }
    }

    private mutating func decode(_ decoder: inout SpecDecoder) {
        let position = decoder.position
        if decoder.nested("source", { source.decode(&$0) }) == nil { decoder.report("missing field 'source'", at: position) }
        dataDirectory = decoder.path("dataDirectory")
        _ = decoder.nested("kubernetes") { decoder in
            kubernetes.kubeconfig = decoder.path("kubeconfig")
            kubernetes.context = decoder.string("context")
        }
        _ = decoder.nested("ssh") { decoder in
            ssh.identity = decoder.path("identity")
            ssh.knownHosts = decoder.path("knownHosts")
            ssh.configuration = decoder.path("config")
        }
        _ = decoder.nested("policy") { policy.decode(&$0) }
        _ = decoder.nested("limits") { limits.decode(&$0) }
        webhooks = decoder.nested("webhooks") { decoder in
            var webhooks = Webhooks()
            webhooks.decode(&decoder)
            return webhooks
        }
        _ = decoder.nested("operations") { decoder in
            if let text = decoder.string("listen") {
                if text == "none" {
                    operations.listen = nil
                } else if let address = Address(text) {
                    operations.listen = address
                } else {
                    decoder.report("'operations.listen' must be HOST:PORT or none, not '\(text)'", at: decoder.position(of: "listen"))
                }
            }
        }
        _ = decoder.nested("socket") { decoder in
            socket.path = decoder.path("path")
            socket.group = decoder.string("group")
            if socket.group != nil, socket.path == nil {
                let fix = "Nobody else gets into the data directory, where it is by default: /run/plumb/control.sock is a good place."
                decoder.report("'socket.group' needs 'socket.path'", at: decoder.position(of: "group"), fix: fix)
            }
        }
        _ = decoder.nested("log") { decoder in
            log.format = decoder.choice("format", of: Log.Format.self) ?? log.format
            log.level = decoder.choice("level", of: Log.Level.self) ?? log.level
        }
        _ = decoder.nested("fights") { decoder in
            fights.reverts = decoder.int("reverts", in: 1...1000) ?? fights.reverts
            fights.within = decoder.duration("within", in: .seconds(1) ... .seconds(86_400)) ?? fights.within
            fights.maximumBackoff = decoder.duration("maximumBackoff", in: .seconds(1) ... .seconds(86_400)) ?? fights.maximumBackoff
        }
        leaderElection = decoder.nested("leaderElection") { decoder in
            var election = LeaderElection()
            election.context = decoder.string("context")
            election.namespace = decoder.string("namespace") ?? election.namespace
            election.name = decoder.string("name") ?? election.name
            election.identity = decoder.string("identity")
            return election
        }
        let url = source.url
        reports = decoder.nested("reports") { Reports(&$0, source: url) }
        if reports?.pullRequests == true, !url.contains(":") {
            let fix = "Where it is a folder, say 'pullRequests: false'."
            decoder.report("'reports' needs a 'source.url' that is a git repository", at: decoder.position(of: "reports"), fix: fix)
        }
    }
}

/// All mistakes of a configuration.
package struct ConfigurationMistakes: Error, Sendable {
    package var diagnostics: [Diagnostic]
}

extension Configuration.Source {
    fileprivate mutating func decode(_ decoder: inout SpecDecoder) {
        url = decoder.require("url").flatMap { $0.scalar?.text } ?? ""
        if url.isEmpty, decoder.diagnostics.isEmpty { decoder.report("'source.url' must be a git URL or a folder", at: decoder.position) }
        revision = decoder.string("revision")
        path = decoder.string("path")
        poll = decoder.duration("poll", in: .seconds(1) ... .seconds(604_800)) ?? poll
        pollWithWebhooks = decoder.duration("pollWithWebhooks", in: .seconds(1) ... .seconds(604_800)) ?? max(poll, pollWithWebhooks)
        timeout = decoder.duration("timeout", in: .seconds(1) ... .seconds(3600)) ?? timeout
        allowsEmpty = decoder.bool("allowEmpty") ?? false
        tokenFile = decoder.path("tokenFile")
        authorityFile = decoder.path("caFile")
        _ = decoder.nested("verify") { decoder in
            allowedSigners = decoder.path("allowedSigners")
            if allowedSigners == nil { decoder.report("'source.verify' needs 'allowedSigners: FILE'", at: decoder.position) }
        }
    }
}

extension Configuration.Policy {
    fileprivate mutating func decode(_ decoder: inout SpecDecoder) {
        mode = decoder.choice("apply", of: Mode.self) ?? mode
        rules = decoder.mappings("rules") { decoder in
            var rule = Rule()
            rule.paths = decoder.texts("paths") ?? []
            rule.kinds = decoder.texts("kinds") ?? []
            rule.targets = decoder.texts("targets") ?? []
            if let mode = decoder.choice("apply", of: Mode.self) {
                rule.mode = mode
            } else if decoder.declaredPosition(of: "apply") == nil {
                decoder.report("missing field 'apply'", at: decoder.position, fix: "Say 'apply: auto' or 'apply: report'.")
            }
            return rule
        }
        allow = decoder.mappings("allow") { decoder in
            var permission = Permission()
            permission.paths = decoder.texts("paths") ?? []
            permission.hosts = decoder.texts("hosts")
            permission.contexts = decoder.texts("contexts")
            permission.namespaces = decoder.texts("namespaces")
            permission.kinds = decoder.texts("kinds")
            return permission
        }
    }
}

extension Configuration.Limits {
    fileprivate mutating func decode(_ decoder: inout SpecDecoder) {
        concurrency = decoder.int("concurrency", in: 1...10_000) ?? concurrency
        timeout = decoder.duration("timeout", in: .seconds(1) ... .seconds(3600)) ?? timeout
        confirmTimeout = decoder.duration("confirmTimeout", in: .seconds(1) ... .seconds(3600)) ?? confirmTimeout
        maxDeletes = decoder.int("maxDeletes", in: 0...1_000_000) ?? maxDeletes
        maxUnavailable = decoder.int("maxUnavailable", in: 1...10_000) ?? maxUnavailable
        maxFailures = decoder.int("maxFailures", in: 0...1_000_000)
        audit = decoder.duration("audit", in: .seconds(1) ... .seconds(604_800)) ?? audit
        shutdown = decoder.duration("shutdown", in: .seconds(1) ... .seconds(3600)) ?? shutdown
        history = decoder.duration("history", in: .seconds(3600) ... .seconds(87_600 * 3600)) ?? history
    }
}

extension Configuration.Webhooks {
    /// What the requests of a forge are checked by.
    private static let forges = ["bitbucket", "forgejo", "generic", "gitea", "github", "gitlab"]

    fileprivate mutating func decode(_ decoder: inout SpecDecoder) {
        if let text = decoder.string("listen") {
            if let address = Configuration.Address(text) {
                listen = address
            } else {
                decoder.report("'webhooks.listen' must be HOST:PORT, not '\(text)'", at: decoder.position(of: "listen"))
            }
        }
        _ = decoder.nested("tls") { decoder in
            certificateFile = decoder.path("certificateFile")
            keyFile = decoder.path("keyFile")
            if certificateFile == nil || keyFile == nil {
                decoder.report("'webhooks.tls' needs 'certificateFile' and 'keyFile'", at: decoder.position)
            }
        }
        repository = decoder.string("repository")
        let position = decoder.position
        providers = decoder.mappings("providers") { decoder in
            let forge = decoder.string("forge") ?? ""
            if !Self.forges.contains(forge) {
                let nearest = Diagnostic.nearest(to: forge, among: Self.forges).map { "Did you mean '\($0)'? " } ?? ""
                let fix = "\(nearest)It is one of: \(Self.forges.joined(separator: ", "))."
                decoder.report("'forge' can't be '\(forge)'", at: decoder.position(of: "forge"), fix: fix)
            }
            let files = decoder.texts("secretFiles") ?? []
            if !(1...2).contains(files.count) {
                let place = decoder.position(of: "secretFiles")
                decoder.report("'secretFiles' must be one or two files", at: place, fix: "Two while a secret is changed.")
            }
            return Provider(forge: forge, secretFiles: files)
        }
        if providers.isEmpty {
            decoder.report("'webhooks' needs at least one of 'providers'", at: position, fix: "A request that nothing vouches for is never believed.")
        }
    }
}

extension Configuration.Address {
    /// `0.0.0.0:9465`, `[::]:9465`, `:9465` for all addresses.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port) else { return nil }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) } else if host.contains(":") { return nil }
        self.init(host.isEmpty ? "0.0.0.0" : host, port)
    }
}

extension SpecDecoder {
    /// `500ms`, `5s`, `2m`, `1h`, `7d`.
    package mutating func duration(_ field: String, in range: ClosedRange<Duration>) -> Duration? {
        guard let text = string(field) else { return nil }
        if let value = Duration(words: text), range.contains(value) { return value }
        let (least, most) = (range.lowerBound.components.seconds, range.upperBound.components.seconds)
        report(
            "'\(path.isEmpty ? field : "\(path).\(field)")' must be a duration from \(least) s to \(most) s, not '\(text)'",
            at: position(of: field),
            fix: "Write it as 500ms, 30s, 5m, 1h or 7d."
        )
        return nil
    }

    mutating func path(_ field: String) -> String? {
        guard let text = string(field) else { return nil }
        if text.hasPrefix("/") { return text }
        report(
            "'\(path.isEmpty ? field : "\(path).\(field)")' must be an absolute path, not '\(text)'",
            at: position(of: field),
            fix: "A service has no folder that it is started in."
        )
        return nil
    }

    fileprivate mutating func texts(_ field: String) -> [String]? { strings(field)?.map(\.text) }

    fileprivate mutating func mappings<Element>(_ field: String, _ body: (inout SpecDecoder) -> Element) -> [Element] {
        guard let node = node(field) else { return [] }
        guard let elements = node.elements else {
            report("'\(path.isEmpty ? field : "\(path).\(field)")' must be a list", at: node.position)
            return []
        }
        return elements.map { element in
            var decoder = SpecDecoder(element, path: "\(path.isEmpty ? field : "\(path).\(field)")[]")
            let result = body(&decoder)
            for mistake in decoder.finish() { report(mistake.message, at: mistake.position, fix: mistake.fix) }
            return result
        }
    }
}

extension Duration {
    /// `500ms`, `5s`, `2m`, `1h`, `7d`; nil where it is none of these.
    package init?(words text: String) {
        let units: [(String, Duration)] = [
            ("ms", .milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600)), ("d", .seconds(86_400)),
        ]
        for (suffix, unit) in units where text.hasSuffix(suffix) {
            guard let count = Int(text.dropLast(suffix.count)), (0...1_000_000).contains(count) else { continue }
            self = unit * count
            return
        }
        return nil
    }
}
