package import YAML

/// A machine that Plumb reaches over SSH, as the specs declare it.
package struct Host: Hashable, Sendable {
    package enum Escalation: String, Hashable, Sendable, CaseIterable {
        case none
        case sudo
    }

    package enum Availability: String, Hashable, Sendable, CaseIterable {
        /// Being away is a problem.
        case always
        /// Being away is a note: a laptop, a machine that sleeps.
        case intermittent
    }

    package var name: String
    /// Host name or IP address; the name where the spec gives none.
    package var address: String
    /// TCP port of sshd; nil: what `~/.ssh/config` says, else 22.
    package var port: Int?
    /// Login name; nil: what `~/.ssh/config` says, else the name of the person who runs Plumb.
    package var user: String?
    package var become: Escalation
    package var labels: [String: String]
    package var availability: Availability
    /// Pinned host keys, `TYPE BASE64`. Where there are any, known_hosts is not asked.
    package var hostKeys: [String]
    package var position: SourcePosition

    package init(
        name: String,
        address: String,
        port: Int? = nil,
        user: String? = nil,
        become: Escalation = .none,
        labels: [String: String] = [:],
        availability: Availability = .always,
        hostKeys: [String] = [],
        position: SourcePosition
    ) {
        self.name = name
        self.address = address
        self.port = port
        self.user = user
        self.become = become
        self.labels = labels
        self.availability = availability
        self.hostKeys = hostKeys
        self.position = position
    }
}

/// A Kubernetes API server, as the specs declare it.
package struct Cluster: Hashable, Sendable {
    package var name: String
    /// The kubeconfig context; nil: `--context`, else the pod's service account.
    package var context: String?
    /// Path patterns of the manifests that belong to this cluster; empty: all that no other cluster claims.
    package var manifests: [String]
    /// Which inventory its objects are written down in, `NAME` or `NAMESPACE/NAME`; nil: one for these specs, as their place is.
    package var inventory: String?
    package var position: SourcePosition

    package init(name: String, context: String? = nil, manifests: [String] = [], inventory: String? = nil, position: SourcePosition) {
        self.name = name
        self.context = context
        self.manifests = manifests
        self.inventory = inventory
        self.position = position
    }
}

package enum Target: Hashable, Sendable {
    case host(Host)
    case cluster(Cluster)

    package var name: String {
        switch self {
        case .host(let host): host.name
        case .cluster(let cluster): cluster.name
        }
    }
}
