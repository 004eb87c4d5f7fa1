package import Values
package import YAML

/// Everything a revision of the specs asks for, checked and expanded to targets.
package struct DesiredState: Sendable {
    /// In the order of their names.
    package var targets: [Target]
    /// In the order of their addresses.
    package var resources: [DesiredResource]
    /// Hash of all spec files, for the plan's ID.
    package var contentHash: String
    package var notes: [String]
    /// Whole targets that the specs themselves say are to be left alone.
    package var pauses: [Pause] = []

    package init(targets: [Target], resources: [DesiredResource], contentHash: String, notes: [String] = []) {
        self.targets = targets
        self.resources = resources
        self.contentHash = contentHash
        self.notes = notes
    }
}

/// What the specs assert of one thing at one target, all specs that meet there taken together.
package struct DesiredResource: Sendable, Hashable {
    /// `NetworkInterface`, or for an object its kind: `Service`.
    package var kind: String
    /// The kind that handles it: its own name for host kinds, `KubernetesObject` for every manifest.
    package var handler: String
    /// For a pattern (a chain glob) what the specs say; `detect` turns it into the addresses of what is really there.
    package var address: ResourceAddress
    /// The declared fields and nothing else: defaults are the kind's business.
    package var fields: Value
    /// Instructions to Plumb that came as `plumb/*` annotations or as options of the spec; never sent.
    package var instructions: Instructions
    /// Resources that must be as declared before this one is changed.
    package var dependsOn: [ResourceAddress]
    /// Where it is declared; several where specs overlap.
    package var origins: [SourcePosition]
    /// What makes two declarations ones of the same thing; of patterns there can be several at one address. Given by SpecLoading.
    package var key = ""

    package init(
        kind: String,
        handler: String,
        address: ResourceAddress,
        fields: Value,
        instructions: Instructions = Instructions(),
        dependsOn: [ResourceAddress] = [],
        origins: [SourcePosition]
    ) {
        self.kind = kind
        self.handler = handler
        self.address = address
        self.fields = fields
        self.instructions = instructions
        self.dependsOn = dependsOn
        self.origins = origins
    }

    package struct Instructions: Sendable, Hashable {
        /// `plumb/manage: fields`: assert only the declared fields of somebody else's object; never create, never delete it.
        package var managesFieldsOnly = false
        /// `plumb/take-over: "true"`: take fields from Helm, Flux or Argo CD.
        package var takesOver = false
        /// `plumb/prune: keep`.
        package var keepsWhenUndeclared = false
        /// `plumb/pause: "REASON"`.
        package var pause: Pause?
        /// `plumb/settle: 60s`; nil: as the kind has it.
        package var settle: Duration?

        package init() {}
    }
}

extension DesiredState {
    /// The targets that have something to be observed, with what is asked of them, in the order of their names. A cluster is looked at without
    /// a manifest, too: its inventory may know of objects that are to go.
    package func resourcesByTarget() -> [(Target, [DesiredResource])] {
        let byTarget = Dictionary(grouping: resources, by: \.address.target)
        return targets.compactMap { target in
            if let resources = byTarget[target.name] { return (target, resources) }
            if case .cluster = target { return (target, []) }
            return nil
        }
    }
}
