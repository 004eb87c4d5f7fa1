package import Values

/// A setting of a host that Plumb has changed and has not been given up since, as the inventory has it.
package struct HeldSetting: Hashable, Sendable {
    package struct Field: Hashable, Sendable {
        package var path: String
        /// The pre-image: what was there before Plumb changed it for the first time; nil: nothing.
        package var before: Value?
        /// What Plumb last made of it.
        package var applied: Value?
        /// An apply has said already that it is no longer declared.
        package var isReported: Bool
        /// An apply failed or died over it: it may be as applied, or as before.
        package var isUncertain: Bool

        package init(path: String, before: Value?, applied: Value?, isReported: Bool = false, isUncertain: Bool = false) {
            self.path = path
            self.before = before
            self.applied = applied
            self.isReported = isReported
            self.isUncertain = isUncertain
        }
    }

    package var address: ResourceAddress
    package var kind: String
    /// The registered kind that handles it.
    package var handler: String
    package var fields: [Field]

    package init(address: ResourceAddress, kind: String, handler: String, fields: [Field]) {
        self.address = address
        self.kind = kind
        self.handler = handler
        self.fields = fields
    }

    /// `mtu 1400, was 1500 before Plumb; flags.up true, was false before Plumb`.
    package var words: String {
        fields.map { field in
            let applied = "\(field.path) \(field.isUncertain ? "perhaps " : "")\(field.applied?.description ?? "none")"
            return field.before == field.applied ? applied : "\(applied), was \(field.before?.description ?? "none") before Plumb"
        }
        .joined(separator: "; ")
    }
}

/// What it takes to give a held setting up.
package struct Relinquishment: Hashable, Sendable {
    /// What has to be so, once, at the resource of this name: asserted, planned and carried out as if it were declared.
    package struct Assertion: Hashable, Sendable {
        /// What follows the host's name in the address.
        package var resource: String
        package var fields: Value

        package init(resource: String, fields: Value) {
            self.resource = resource
            self.fields = fields
        }
    }

    package var assertions: [Assertion]
    /// What remains on the host; empty where nothing does.
    package var stays: String

    package init(assertions: [Assertion] = [], stays: String = "") {
        self.assertions = assertions
        self.stays = stays
    }
}
