import PathPatterns
package import ResourceModel
package import YAML

extension Configuration.Policy {
    /// What is done about a resource: the last rule that matches it decides, else the policy's own mode.
    package func mode(of address: ResourceAddress, kind: String, origins: [SourcePosition]) -> Mode {
        rules.last { rule in
            (rule.kinds.isEmpty || rule.kinds.contains(kind))
                && (rule.targets.isEmpty || rule.targets.contains { AddressGlob($0).matches(address) })
                && (rule.paths.isEmpty || origins.contains { PathPatterns(lines: rule.paths).matches($0.file) })
        }?.mode ?? mode
    }

    /// What the specs are about and may not be, each at its place. Where nothing is listed, everything is allowed.
    package func objections(to desired: DesiredState) -> [Diagnostic] {
        guard !allow.isEmpty else { return [] }
        let patterns = allow.map { ($0, PathPatterns(lines: $0.paths.isEmpty ? ["*"] : $0.paths)) }
        let targets = Dictionary(desired.targets.map { ($0.name, $0) }) { first, _ in first }
        var objections: [Diagnostic] = []
        func permissions(at path: String) -> [Permission] { patterns.filter { $0.1.matches(path) }.map(\.0) }
        for target in desired.targets {
            let isAllowed = permissions(at: target.position.file).contains { $0.allows(target) }
            if !isAllowed { objections.append(Self.objection("\(target.position.file) may not declare \(target.name)", at: target.position)) }
        }
        for resource in desired.resources {
            guard let target = targets[resource.address.target] else { continue }
            for origin in resource.origins {
                let found = permissions(at: origin.file).contains { permission in
                    permission.allows(target) && permission.allows(kind: resource.kind, namespace: resource.namespace)
                }
                if !found { objections.append(Self.objection("\(origin.file) may not touch \(resource.address)", at: origin)) }
            }
        }
        var seen: Set<Diagnostic> = []
        return objections.filter { seen.insert($0).inserted }
    }

    private static func objection(_ message: String, at position: SourcePosition) -> Diagnostic {
        Diagnostic(message, at: position, fix: "The controller's 'policy.allow' has no entry that lets it; that file is on the controller's machine.")
    }
}

extension Configuration.Policy.Permission {
    fileprivate func allows(_ target: Target) -> Bool {
        switch target {
        case .host(let host): hosts.map { $0.contains { AddressGlob($0).matches(ResourceAddress(target: host.name, resource: "")) } } ?? true
        case .cluster(let cluster): contexts.map { $0.contains(cluster.context ?? "") } ?? true
        }
    }

    fileprivate func allows(kind: String, namespace: String?) -> Bool {
        (kinds.map { $0.contains(kind) } ?? true) && (namespaces.map { list in namespace.map(list.contains) ?? true } ?? true)
    }
}

extension Target {
    var position: SourcePosition {
        switch self {
        case .host(let host): host.position
        case .cluster(let cluster): cluster.position
        }
    }
}

extension DesiredResource {
    /// Of an object that lives in one: what stands between its kind and its name.
    fileprivate var namespace: String? {
        let parts = address.resource.split(separator: "/").map(String.init)
        guard let index = parts.firstIndex(of: kind), parts.count == index + 3 else { return nil }
        return parts[index + 1]
    }
}
