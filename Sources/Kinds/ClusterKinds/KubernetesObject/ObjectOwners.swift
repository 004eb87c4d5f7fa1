import KubernetesAPI
import Values

/// Who else has a say in an object.
enum ObjectOwners {
    /// The tool that keeps this object as its own source has it, in words; nil: none that is known.
    static func owner(of live: Value) -> String? {
        let labels = live[path: "metadata", "labels"]
        let annotations = live[path: "metadata", "annotations"]
        func text(_ value: Value?, _ key: String) -> String? { value?[key]?.stringValue }
        func name(_ namespace: String?, _ name: String) -> String { [namespace, name].compactMap(\.self).joined(separator: "/") }

        // Flux' Helm controller marks Helm's objects on top of Helm's own marks.
        if let release = text(labels, "helm.toolkit.fluxcd.io/name") {
            return "Flux HelmRelease \(name(text(labels, "helm.toolkit.fluxcd.io/namespace"), release))"
        }
        if let release = text(labels, "kustomize.toolkit.fluxcd.io/name") {
            return "Flux Kustomization \(name(text(labels, "kustomize.toolkit.fluxcd.io/namespace"), release))"
        }
        if text(labels, "app.kubernetes.io/managed-by") == "Helm", let release = text(annotations, "meta.helm.sh/release-name") {
            return "Helm release \(name(text(annotations, "meta.helm.sh/release-namespace"), release))"
        }
        if let tracked = text(annotations, "argocd.argoproj.io/tracking-id") {
            return "Argo CD application \(tracked.prefix { $0 != ":" })"
        }
        // The label alone is everybody's; Argo CD uses it where no tracking annotation is set up.
        if let instance = text(labels, "app.kubernetes.io/instance"),
            ManagedFieldsEntry.entries(of: live).contains(where: { $0.manager.hasPrefix("argocd") })
        {
            return "Argo CD application \(instance)"
        }
        return nil
    }

    /// Who set a field last, other than us.
    struct Holder: Hashable, Comparable {
        var manager: String
        var operation: String
        var time: String

        static func < (a: Self, b: Self) -> Bool { (a.time, a.manager, a.operation) < (b.time, b.manager, b.operation) }
    }

    /// Everybody but us who set this field, the last one last.
    static func holders(of place: ObjectPlace, in entries: [ManagedFieldsEntry]) -> [Holder] {
        entries
            .filter { !$0.isApply(by: KubernetesObject.fieldManager) && $0.touches(place.steps) }
            .map { Holder(manager: $0.manager, operation: $0.operation, time: $0.time) }
            .sorted()
    }

    /// `spec.type was last set by kube-controller-manager (Update) at 2026-01-31T12:00:00Z`
    static func reason(_ differences: [ObjectComparison.Difference], in entries: [ManagedFieldsEntry]) -> String {
        var paths: [Holder: [String]] = [:]
        for difference in differences {
            guard let holder = holders(of: difference.place, in: entries).last else { continue }
            paths[holder, default: []].append(difference.place.path)
        }
        return paths.sorted { $0.key < $1.key }.map { holder, paths in
            let shown = paths.sorted().prefix(5).joined(separator: ", ")
            let more = paths.count > 5 ? " and \(paths.count - 5) more" : ""
            let by = holder.operation.isEmpty ? holder.manager : "\(holder.manager) (\(holder.operation))"
            return "\(shown)\(more) \(paths.count == 1 ? "was" : "were") last set by \(by)\(holder.time.isEmpty ? "" : " at \(holder.time)")"
        }.joined(separator: "; ")
    }
}
