#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// Everything that is needed to reach one host, from the specs, the command line and the ssh configuration; the earlier wins.
struct HostConfiguration: Hashable, Sendable {
    var hostName: String
    var port: Int
    var user: String
    /// Private keys that a person has named for this host.
    var identityFiles: [String] = []
    /// Nobody has named any: the agent's keys are tried and then those with the usual names.
    var usesDefaultIdentities = true
    /// Only keys that were named, even from the agent.
    var identitiesOnly = false
    /// The socket of the ssh-agent; nil: there is none.
    var agent: String?
    var knownHostsFiles: [String]
    var hostKeyAlias: String?
    /// The way to the host, the first hop first.
    var jumps: [Jump] = []
    var connectTimeout: Duration?
    /// What the ssh configuration asks for and we don't do, to be told where it may be the reason of a failure.
    var trustHints: [String] = []
    var loginHints: [String] = []
    /// The same for reaching the host.
    var routeHints: [String] = []
    var notes: [String] = []

    struct Jump: Hashable, Sendable {
        var host: String
        var port: Int?
        var user: String?

        /// `[USER@]HOST[:PORT]`, an address with colons in brackets.
        init?(_ text: some StringProtocol) {
            var rest = text[...]
            if let at = rest.lastIndex(of: "@") {
                user = String(rest[..<at])
                rest = rest[rest.index(after: at)...]
            }
            if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
                host = String(rest[rest.index(after: rest.startIndex)..<end])
                rest = rest[rest.index(after: end)...]
            } else {
                let end = rest.firstIndex(of: ":") ?? rest.endIndex
                // More than one colon: an address without a port.
                let isAddress = rest[end...].dropFirst().contains(":")
                host = String(isAddress ? rest : rest[..<end])
                rest = isAddress ? "" : rest[end...]
            }
            if !rest.isEmpty {
                guard rest.first == ":", let number = Int(rest.dropFirst()), (1...65535).contains(number) else { return nil }
                port = number
            }
            guard HostConfiguration.isSafe(host), user.map({ HostConfiguration.isSafe($0) }) ?? true else { return nil }
        }
    }

    /// Names that can be handed to other programs: the same rule as for the specs.
    static func isSafe(_ name: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: false
            }
        }
        // An IPv6 address may begin with a colon.
        guard let first = name.utf8.first, isAlphanumeric(first) || name.hasPrefix("::") else { return false }
        return name.utf8.allSatisfy { isAlphanumeric($0) || "._:-".utf8.contains($0) }
    }

    /// Without any ssh configuration.
    init(_ login: SSHLogin, options: SSHOptions) {
        hostName = login.address
        port = login.port ?? 22
        user = login.user ?? LocalFiles.user
        knownHostsFiles = ["\(LocalFiles.home)/.ssh/known_hosts", "\(LocalFiles.home)/.ssh/known_hosts2"] + Self.globalKnownHosts
        agent = LocalFiles.environment("SSH_AUTH_SOCK").flatMap { $0.isEmpty ? nil : $0 }
        apply(options)
    }

    private static let globalKnownHosts = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]

    /// The command line wins over the ssh configuration.
    private mutating func apply(_ options: SSHOptions) {
        if let file = options.identityFile {
            identityFiles = [LocalFiles.expanded(file)]
            usesDefaultIdentities = false
            identitiesOnly = true
        }
        if let file = options.knownHostsFile { knownHostsFiles = [LocalFiles.expanded(file)] }
    }

    /// - Parameter answer: What `ssh -G` printed for this login.
    init(_ login: SSHLogin, options: SSHOptions, answer: String) throws(SSHFailure) {
        self.init(login, options: options)
        var values: [String: [String]] = [:]
        for line in answer.split(separator: "\n") {
            let key = line.prefix { $0 != " " }
            values[key.lowercased(), default: []].append(String(line.dropFirst(key.count + 1)))
        }
        func value(_ key: String) -> String? { values[key]?.first.flatMap { $0 == "none" || $0.isEmpty ? nil : $0 } }
        if let name = value("hostname") { hostName = name }
        guard Self.isSafe(hostName) else {
            throw SSHFailure(
                .unknown,
                "\(login.name): the ssh configuration gives it the HostName '\(hostName.quotable())', which is no name or address"
            )
        }
        if login.port == nil, let number = value("port").flatMap({ Int($0) }), (1...65535).contains(number) { port = number }
        if login.user == nil, let name = value("user") { user = name }
        hostKeyAlias = value("hostkeyalias")
        if let seconds = value("connecttimeout").flatMap({ Int($0) }), seconds > 0 { connectTimeout = .seconds(seconds) }
        identitiesOnly = value("identitiesonly") == "yes"
        if let path = value("identityagent") {
            agent = path == "SSH_AUTH_SOCK" ? LocalFiles.environment("SSH_AUTH_SOCK") : expanded(path, login)
        } else if values["identityagent"]?.first == "none" {
            agent = nil
        }
        let named = (values["identityfile"] ?? []).filter { $0 != "none" }
        if !Self.areDefaults(named) {
            usesDefaultIdentities = false
            identityFiles = named.map { expanded($0, login) }
        }
        var files: [String] = []
        for key in ["userknownhostsfile", "globalknownhostsfile"] {
            files += (value(key) ?? "").split(separator: " ").map { expanded(String($0), login) }
        }
        knownHostsFiles = files
        if let chain = value("proxyjump") {
            for hop in chain.split(separator: ",") {
                guard let jump = Jump(hop) else {
                    throw SSHFailure(
                        .unknown,
                        "\(login.name): the ssh configuration gives it the ProxyJump '\(chain.quotable())', which is not [USER@]HOST[:PORT]"
                    )
                }
                jumps.append(jump)
            }
        }
        if let command = value("proxycommand") {
            throw SSHFailure(
                .unreachable,
                "\(login.name) is reached through the ProxyCommand '\(command.quotable())', which Plumb does not run; "
                    + "where it leads over another host ('ssh -W'), write 'ProxyJump THAT-HOST' in its place"
            )
        }
        if let list = value("revokedhostkeys") {
            throw SSHFailure(
                .denied,
                "\(login.name) has RevokedHostKeys \(list.quotable()), which Plumb can't read; write '@revoked * TYPE KEY' lines in known_hosts in its place"
            )
        }
        collectHints(values)
        apply(options)
    }

    /// Options that change who is trusted, who may log in or how a host is reached, and that are not followed.
    private mutating func collectHints(_ values: [String: [String]]) {
        func isSet(_ key: String, except harmless: Set<String>) -> String? {
            values[key]?.first.flatMap { harmless.contains($0.lowercased()) || $0.isEmpty ? nil : $0.quotable(limit: 80) }
        }
        if let command = isSet("knownhostscommand", except: ["none"]) { trustHints.append("KnownHostsCommand '\(command)' is not run") }
        if let dns = isSet("verifyhostkeydns", except: ["no", "false"]) { trustHints.append("VerifyHostKeyDNS \(dns) is not followed") }
        if let checking = isSet("stricthostkeychecking", except: ["yes", "true", "ask"]) {
            trustHints.append("StrictHostKeyChecking \(checking) is not followed: an unknown key is never accepted")
        }
        if let file = isSet("certificatefile", except: ["none"]) { loginHints.append("CertificateFile \(file) can't be used by libssh2") }
        if let provider = isSet("pkcs11provider", except: ["none"]) { loginHints.append("PKCS11Provider \(provider) can't be used by libssh2") }
        if let provider = isSet("securitykeyprovider", except: ["internal", "none"]) {
            loginHints.append("SecurityKeyProvider \(provider) can't be used by libssh2")
        }
        if isSet("pubkeyauthentication", except: ["yes", "true", "unbound", "host-bound"]) != nil {
            loginHints.append("PubkeyAuthentication no is not followed: Plumb knows no other way to log in")
        }
        if let address = isSet("bindaddress", except: ["none"]) { routeHints.append("BindAddress \(address) is not followed") }
        if let interface = isSet("bindinterface", except: ["none"]) { routeHints.append("BindInterface \(interface) is not followed") }
        if let family = isSet("addressfamily", except: ["any"]) { routeHints.append("AddressFamily \(family) is not followed") }
    }

    /// The names that OpenSSH tries where nobody has said anything. A person names one or two.
    private static func areDefaults(_ files: [String]) -> Bool {
        files.count >= 4 && files.allSatisfy { $0.hasPrefix("~/.ssh/id_") }
    }

    static let defaultIdentityFiles = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"].map { "\(LocalFiles.home)/.ssh/\($0)" }

    /// `~`, the tokens and the environment variables that OpenSSH knows in file names.
    private func expanded(_ text: String, _ login: SSHLogin) -> String {
        var result = ""
        var rest = LocalFiles.expanded(text)[...]
        while let character = rest.popFirst() {
            if character == "$", rest.first == "{", let end = rest.firstIndex(of: "}") {
                result += LocalFiles.environment(String(rest[..<end].dropFirst())) ?? ""
                rest = rest[rest.index(after: end)...]
            } else if character == "%", let token = rest.popFirst() {
                switch token {
                case "%": result += "%"
                case "d": result += LocalFiles.home
                case "h": result += hostName
                case "i": result += String(getuid())
                case "k": result += hostKeyAlias ?? login.address
                case "n": result += login.address
                case "p": result += String(port)
                case "r": result += user
                case "u": result += LocalFiles.user
                default: result += "%\(token)"
                }
            } else {
                result.append(character)
            }
        }
        return result
    }

    var knownHostsName: KnownHosts.Name {
        hostKeyAlias.map { KnownHosts.Name(host: $0, port: port, isAlias: true) } ?? KnownHosts.Name(host: hostName, port: port)
    }

    func place(of login: SSHLogin) -> String {
        let address = hostName.contains(":") ? "[\(hostName)]:\(port)" : "\(hostName):\(port)"
        return login.name == hostName ? address : "\(login.name) (\(address))"
    }
}
