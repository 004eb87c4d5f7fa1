package import Values
package import YAML

/// A read-only part of a host's probe. All sections of all kinds go out in one script.
package struct ProbeSection: Hashable, Sendable {
    /// Unique over all kinds; kinds that need the same facts share a section.
    package var name: String
    /// Constant POSIX `sh`. `$SUDO` stands before a command that needs root and is empty where we are root already.
    /// Its exit status says whether the output can be believed.
    package var script: String

    package init(name: String, script: String) {
        self.name = name
        self.script = script
    }
}

/// What one spec document asserts of one thing, before it is expanded to hosts.
package struct DeclaredSetting: Sendable {
    /// What follows the host's name in the address.
    package var resource: String
    /// Settings with the same key at the same host are one resource and may not contradict each other. Mostly `resource` itself.
    package var key: String
    package var fields: Value
    /// Where each field stands, by its path in `fields`; for naming both places of a contradiction.
    package var positions: [String: SourcePosition]

    package init(resource: String, key: String? = nil, fields: Value, positions: [String: SourcePosition] = [:]) {
        self.resource = resource
        self.key = key ?? resource
        self.fields = fields
        self.positions = positions
    }
}

/// A kind as the engine sees it: data and pure functions, never a connection.
package struct RegisteredKind: Sendable {
    /// The `kind:` of its specs.
    package var name: String
    /// Reads the fields under `spec:`; `hosts` has been taken already. Mistakes go to the decoder.
    package var decode: @Sendable (inout SpecDecoder) -> [DeclaredSetting]
    package var probe: [ProbeSection]
    /// Compares all resources of this kind at one target with what was found there.
    /// Total and deterministic: whatever the host printed, every resource gets an answer.
    package var detect: @Sendable ([DesiredResource], TargetFacts) -> [ResourceDrift]
    /// What becomes of resources that the inventory has and that are no longer declared: something to delete or to let go of, a note, or nothing.
    package var undeclared: @Sendable ([OwnedResource], TargetFacts) -> [ResourceDrift]
    /// The way from observed to desired of one resource that is missing, differs, or has to go.
    package var change: @Sendable (ResourceDrift) -> Change
    /// Whether a declared resource speaks for a field, by its path, of an address that the inventory has; a pattern speaks for all that it matches.
    package var declares: @Sendable (DesiredResource, ResourceAddress, _ path: String) -> Bool
    /// What it takes to give up a setting: with `true` as it was before Plumb, as far as that is possible.
    package var relinquish: @Sendable (HeldSetting, _ restores: Bool) -> Relinquishment
    /// How long something found at this address has to differ before the continuous mode acts on it, where no spec says so.
    package var settle: @Sendable (ResourceAddress) -> Duration

    package init(
        name: String,
        decode: @escaping @Sendable (inout SpecDecoder) -> [DeclaredSetting],
        probe: [ProbeSection],
        detect: @escaping @Sendable ([DesiredResource], TargetFacts) -> [ResourceDrift],
        undeclared: @escaping @Sendable ([OwnedResource], TargetFacts) -> [ResourceDrift] = { _, _ in [] },
        change: @escaping @Sendable (ResourceDrift) -> Change,
        declares: @escaping @Sendable (DesiredResource, ResourceAddress, _ path: String) -> Bool = { resource, address, _ in
            resource.address == address
        },
        relinquish: @escaping @Sendable (HeldSetting, _ restores: Bool) -> Relinquishment = { held, _ in Relinquishment(stays: held.words) },
        settle: @escaping @Sendable (ResourceAddress) -> Duration = { _ in .zero }
    ) {
        self.name = name
        self.decode = decode
        self.probe = probe
        self.detect = detect
        self.undeclared = undeclared
        self.change = change
        self.declares = declares
        self.relinquish = relinquish
        self.settle = settle
    }
}
