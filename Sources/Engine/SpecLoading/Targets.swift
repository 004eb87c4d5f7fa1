import ResourceModel
import YAML

extension Loader {
    /// Reads Host, HostList and Cluster documents. Target names are unique over all of them.
    mutating func declareTargets() {
        for document in targetDocuments {
            decodeEnvelope(document) { loader, metadata, spec in
                if let depends = metadata.dependsOn.first {
                    loader.report(
                        "a \(document.kind) depends on nothing",
                        at: depends.position,
                        fix: "Put plumb/depends-on on the specs that need it."
                    )
                }
                if let position = metadata.settlePosition {
                    loader.report("a \(document.kind) has nothing to settle", at: position, fix: "Put plumb/settle on the specs that need it.")
                }
                let known = (hosts: loader.hosts.count, clusters: loader.clusters.count)
                defer {
                    let declared = loader.hosts.dropFirst(known.hosts).map(\.name) + loader.clusters.dropFirst(known.clusters).map(\.name)
                    loader.pause(declared, metadata.instructions.pause)
                }
                switch document.kind {
                case "Host":
                    guard let name = metadata.name else { return }
                    let host = HostFields(&spec, isDefaults: false).host(name, HostFields(), labels: metadata.labels, at: metadata.namePosition)
                    loader.declare(.host(host), at: metadata.namePosition)
                case "HostList": loader.declareHostList(&spec)
                default:
                    let manifests = spec.strings("manifests")?.map(\.text) ?? []
                    let context = spec.string("context")
                    if context == nil, !loader.options.contextIsGiven {
                        spec.report("missing field 'context'", at: spec.position, fix: "Name a context of the kubeconfig, or give --context.")
                    }
                    let inventory = spec.inventory()
                    guard let name = metadata.name else { return }
                    let cluster = Cluster(
                        name: name,
                        context: context,
                        manifests: manifests,
                        inventory: inventory,
                        position: metadata.namePosition
                    )
                    loader.declare(.cluster(cluster), at: metadata.namePosition)
                }
            }
        }
        targetsAreKnown = diagnostics.isEmpty
        hosts.sort { $0.name < $1.name }
        clusters.sort { $0.name < $1.name }
    }

    /// `plumb/pause` on a Host, HostList or Cluster means all of what it declares.
    private mutating func pause(_ names: [String], _ pause: Pause?) {
        guard var pause else { return }
        for name in names {
            pause.scope = .target(name)
            pauses.append(pause)
        }
    }

    private mutating func declareHostList(_ spec: inout SpecDecoder) {
        let defaults = spec.nested("defaults") { HostFields(&$0, isDefaults: true) } ?? HostFields()
        guard let node = spec.require("hosts") else { return }
        var decoder = SpecDecoder(node, path: "hosts")
        let found = decoder.takeRest().map { name, position, node in
            var inner = SpecDecoder(node, path: "hosts.\(name)")
            let fields = HostFields(&inner, isDefaults: false)
            diagnostics += inner.finish()
            return (name, position, fields)
        }
        diagnostics += decoder.finish()
        for (name, position, fields) in found {
            guard Names.isDNS1123(name) else {
                report("'\(name)' can't be a host's name", at: position, fix: Names.rule)
                continue
            }
            declare(.host(fields.host(name, defaults, labels: [:], at: position)), at: position)
        }
    }

    private mutating func declare(_ target: Target, at position: SourcePosition) {
        if let first = targetPositions[target.name] {
            report("the name '\(target.name)' is taken", at: position, fix: "It is declared at \(first); hosts and clusters share one set of names.")
            return
        }
        targetPositions[target.name] = position
        switch target {
        case .host(let host):
            if !Names.isAddress(host.address) {
                report("'\(host.address)' can't be an address", at: position, fix: "Give a host name or an IP address without brackets.")
            }
            hosts.append(host)
        case .cluster(let cluster): clusters.append(cluster)
        }
    }
}

/// What is said of a host, before defaults.
private struct HostFields {
    var address: String?
    var port: Int?
    var user: String?
    var become: Host.Escalation?
    var labels: [String: String] = [:]
    var availability: Host.Availability?
    var hostKeys: [String] = []

    init() {}

    init(_ decoder: inout SpecDecoder, isDefaults: Bool) {
        if !isDefaults {
            address = decoder.name("address")
            hostKeys = (decoder.strings("hostKeys") ?? []).compactMap { key, position in
                if Self.isHostKey(key) { return key }
                decoder.report(
                    "'\(key)' is no host key",
                    at: position,
                    fix: "Write TYPE BASE64 as ssh-keyscan prints it, without the host's name: ssh-ed25519 AAAA…"
                )
                return nil
            }
        }
        port = decoder.int("port", in: 1...65535)
        user = decoder.name("user")
        become = decoder.choice("become", of: Host.Escalation.self)
        availability = decoder.choice("availability", of: Host.Availability.self)
        labels = decoder.nested("labels") { Loader.decodeLabels(&$0) } ?? [:]
    }

    func host(_ name: String, _ defaults: HostFields, labels: [String: String], at position: SourcePosition) -> Host {
        Host(
            name: name,
            address: address ?? name,
            port: port ?? defaults.port,
            user: user ?? defaults.user,
            become: become ?? defaults.become ?? .none,
            labels: defaults.labels.merging(labels) { $1 }.merging(self.labels) { $1 },
            availability: availability ?? defaults.availability ?? .always,
            hostKeys: hostKeys,
            position: position
        )
    }

    private static func isHostKey(_ text: String) -> Bool {
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        let types = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"]
        guard parts.count == 2, types.contains(String(parts[0])), parts[1].hasPrefix("AAAA"), parts[1].utf8.count % 4 == 0 else { return false }
        return parts[1].utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: "+/=".utf8.contains(byte)
            }
        }
    }
}

extension SpecDecoder {
    /// `NAME` or `NAMESPACE/NAME`. Short enough for the name of a ConfigMap with something before and after it.
    fileprivate mutating func inventory() -> String? {
        guard let node = node("inventory") else { return nil }
        let text = node.scalar?.text ?? ""
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (1...2).contains(parts.count), parts.allSatisfy({ Names.isDNS1123($0) && $0.utf8.count <= 200 }) else {
            report("'inventory' can't be '\(text)'", at: node.position, fix: "Give NAME or NAMESPACE/NAME. \(Names.rule)")
            return nil
        }
        return text
    }

    /// A host name, address or login name: nothing in it means anything to a shell or to ssh's options.
    fileprivate mutating func name(_ field: String) -> String? {
        guard let node = node(field) else { return nil }
        guard let text = node.scalar?.text, Names.isAddress(text) else {
            report(
                "'\(path.isEmpty ? field : "\(path).\(field)")' can't be '\(node.scalar?.text ?? "")'",
                at: node.position,
                fix: "Letters, digits, '.', '_', ':' and '-', beginning with a letter or digit."
            )
            return nil
        }
        return text
    }
}
