/// One resource that Plumb holds: it was applied once, and has not been given up since. What the inventory has of it.
package struct OwnedResource: Hashable, Sendable, Codable {
    package var address: ResourceAddress
    /// `NetworkInterface`, or for an object its kind: `Service`.
    package var kind: String
    /// The registered kind that handles it.
    package var handler: String
    /// Plumb made it, where it could as well have changed what was there already. Only what it made is ever deleted.
    package var isCreated: Bool
    /// `plumb/manage: fields` when it was last applied.
    package var managesFieldsOnly: Bool
    /// `plumb/prune: keep` when it was last applied.
    package var isKept: Bool
    /// The object's UID; nil for host settings. Another object of the same name is not ours.
    package var uid: String?

    package init(
        address: ResourceAddress,
        kind: String,
        handler: String,
        isCreated: Bool = false,
        managesFieldsOnly: Bool = false,
        isKept: Bool = false,
        uid: String? = nil
    ) {
        self.address = address
        self.kind = kind
        self.handler = handler
        self.isCreated = isCreated
        self.managesFieldsOnly = managesFieldsOnly
        self.isKept = isKept
        self.uid = uid
    }
}
