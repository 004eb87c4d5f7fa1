/// Everything that is needed to reach one host.
struct HostConfiguration: Hashable, Sendable {
    var hostName: String
    var port: Int
    var user: String
    var identityFiles: [String]
    var knownHostsFiles: [String]
    var hostKeyAlias: String?
    var notes: [String] = []

    init(_ login: SSHLogin, options: SSHOptions) {
        hostName = login.address
        port = login.port ?? 22
        user = login.user ?? LocalFiles.user
        identityFiles = options.identityFile.map { [LocalFiles.expanded($0)] } ?? ["id_ed25519", "id_ecdsa"].map { "\(LocalFiles.home)/.ssh/\($0)" }
        knownHostsFiles =
            options.knownHostsFile.map { [LocalFiles.expanded($0)] } ?? ["\(LocalFiles.home)/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"]
    }

    var knownHostsName: KnownHosts.Name {
        hostKeyAlias.map { KnownHosts.Name(host: $0, port: port, isAlias: true) } ?? KnownHosts.Name(host: hostName, port: port)
    }

    func place(of login: SSHLogin) -> String {
        let address = hostName.contains(":") ? "[\(hostName)]:\(port)" : "\(hostName):\(port)"
        return login.name == hostName ? address : "\(login.name) (\(address))"
    }
}
