import Values

extension AccessRules {
    /// Manifests for `kubectl apply -f -`: namespaces, the ServiceAccount, and a Role with its binding for each namespace and one for the cluster.
    ///
    /// - Parameter heading: Comment lines for the top.
    package func yaml(heading: [String]) -> String {
        var documents: [String] = []
        for namespace in namespaces { documents.append(head("v1", "Namespace", name: namespace, namespace: nil)) }
        documents.append(head("v1", "ServiceAccount", name: options.serviceAccount, namespace: options.namespace))
        var places: [String?] = []
        for rule in rules where !places.contains(rule.namespace) { places.append(rule.namespace) }
        for place in places {
            let kind = place == nil ? "ClusterRole" : "Role"
            let entries = rules.filter { $0.namespace == place }.map(text).joined()
            documents.append(head(Self.api, kind, name: roleName, namespace: place) + "rules:\n" + entries)
            documents.append(head(Self.api, "\(kind)Binding", name: roleName, namespace: place) + binding(to: kind))
        }
        let comments = (heading + notes.map { "- \($0)" }).map { "# \($0)\n" }.joined()
        return comments + documents.joined(separator: "---\n")
    }

    private static let api = "rbac.authorization.k8s.io/v1"

    /// Of all Roles and bindings. Another installation in the same namespaces has another.
    package var roleName: String { "plumb:\(options.namespace):\(options.serviceAccount)" }

    private func head(_ apiVersion: String, _ kind: String, name: String, namespace: String?) -> String {
        let place = namespace.map { ", namespace: \(Self.quoted($0))" } ?? ""
        return "apiVersion: \(apiVersion)\nkind: \(kind)\nmetadata: {name: \(Self.quoted(name))\(place)}\n"
    }

    private func text(_ rule: Rule) -> String {
        var text = "  # \(rule.purpose)\n  - apiGroups: [\(Self.quoted(rule.group))]\n    resources: [\(Self.quoted(rule.resource))]\n"
        if !rule.names.isEmpty { text += "    resourceNames: [\(rule.names.map(Self.quoted).joined(separator: ", "))]\n" }
        return text + "    verbs: [\(rule.verbs.joined(separator: ", "))]\n"
    }

    private func binding(to kind: String) -> String {
        """
        roleRef: {apiGroup: rbac.authorization.k8s.io, kind: \(kind), name: \(Self.quoted(roleName))}
        subjects:
          - {kind: ServiceAccount, name: \(Self.quoted(options.serviceAccount)), namespace: \(Self.quoted(options.namespace))}

        """
    }

    /// A name of digits alone would be a number.
    private static func quoted(_ text: String) -> String { Value.string(text).canonicalJSON }
}
