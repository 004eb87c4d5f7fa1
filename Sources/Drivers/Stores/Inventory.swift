package import Foundation
package import Values

/// What is kept of targets: who they are, and what Plumb has changed on hosts. A snapshot.
package struct Inventory: Sendable, Hashable {
    /// Who a target is. There is one for each name; those that went before are kept, with what was changed there, and never used again.
    package struct Identity: Sendable, Hashable {
        package var target: String
        /// `host` or `cluster`.
        package var kind: String
        /// The machine-id; the UID of namespace `kube-system`.
        package var id: String
        package var hostKey: String?
        package var firstSeen: Date
        package var lastSeen: Date
        /// Who said that it is the right one, where another was known before.
        package var acceptedBy: String?

        package init(
            target: String,
            kind: String,
            id: String,
            hostKey: String? = nil,
            firstSeen: Date,
            lastSeen: Date,
            acceptedBy: String? = nil
        ) {
            self.target = target
            self.kind = kind
            self.id = id
            self.hostKey = hostKey
            self.firstSeen = firstSeen
            self.lastSeen = lastSeen
            self.acceptedBy = acceptedBy
        }
    }

    /// A host's setting that Plumb has changed. Sensitive values are written as `(sensitive)`, whatever is handed in.
    package struct Setting: Sendable, Hashable {
        package struct Field: Sendable, Hashable {
            package var path: String
            /// The pre-image: what was there before Plumb changed it for the first time; nil: nothing.
            package var before: Value?
            /// What Plumb last made of it.
            package var applied: Value?
            /// About to be changed for the first time, or it ended without a word: it may have been changed.
            package var isPending: Bool
            /// An apply has said that it is no longer declared.
            package var isReported: Bool

            package init(path: String, before: Value?, applied: Value?, isPending: Bool = false, isReported: Bool = false) {
                self.path = path
                self.before = before
                self.applied = applied
                self.isPending = isPending
                self.isReported = isReported
            }
        }

        package var target: String
        package var address: String
        package var kind: String
        package var handler: String
        package var fields: [Field]
        package var firstApplied: Date
        package var lastApplied: Date
        /// The run of the journal that changed it last.
        package var run: Int64?

        package init(
            target: String,
            address: String,
            kind: String,
            handler: String,
            fields: [Field],
            firstApplied: Date,
            lastApplied: Date,
            run: Int64? = nil
        ) {
            self.target = target
            self.address = address
            self.kind = kind
            self.handler = handler
            self.fields = fields
            self.firstApplied = firstApplied
            self.lastApplied = lastApplied
            self.run = run
        }
    }

    /// By the target's name.
    package var identities: [String: Identity]
    /// In the order of their addresses. All are of the machines in `identities`.
    package var settings: [Setting]

    package init(identities: [String: Identity] = [:], settings: [Setting] = []) {
        self.identities = identities
        self.settings = settings
    }
}

/// What an apply is going to do to one setting.
package struct SettingChange: Sendable, Hashable {
    package var address: String
    package var kind: String
    package var handler: String
    package var fields: [ActionStart.Field]

    package init(address: String, kind: String, handler: String, fields: [ActionStart.Field]) {
        self.address = address
        self.kind = kind
        self.handler = handler
        self.fields = fields
    }
}

/// What has become of it.
package enum SettingEnding: Sendable, Hashable {
    case changed
    /// It was not tried, or taken back.
    case asBefore
    /// It failed, and some of it may have been done.
    case uncertain
}
