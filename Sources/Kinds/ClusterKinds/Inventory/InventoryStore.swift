import KubernetesAPI
import ResourceModel
import Values

/// Reads and writes an inventory in its cluster.
enum InventoryStore {
    enum Reading: Sendable {
        case read(ObjectInventory)
        /// Why nothing can be said of it: a right is missing, or somebody changed it.
        case unreadable(String)
    }

    static func read(_ id: InventoryID, send: APISender) async throws(APIFailure) -> Reading {
        var items: [Value] = []
        var next: String?
        repeat {
            var request = APIRequest.list(InventoryID.configMaps, namespace: id.namespace, limit: ClusterReading.pageSize, after: next)
            request.query.append(APIRequest.QueryItem("labelSelector", ObjectInventory.selector))
            let response = try await send(request)
            if let status = APIStatus(response) {
                if status.code == 404 { break }
                return .unreadable(reason(status))
            }
            items += response.body["items"]?.arrayValue ?? []
            next = response.body[path: "metadata", "continue"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
        } while next != nil
        do throws(ObjectInventory.Damage) {
            return .read(try ObjectInventory(id, items: items))
        } catch {
            return .unreadable(error.message)
        }
    }

    /// Writes changes down. Another writer in between is no trouble: what it wrote is read again, and the changes are made to that.
    ///
    /// - Returns: why it could not be written; nil: it is.
    static func write(_ changes: [InventoryChange], to id: InventoryID, source: String, send: APISender) async -> String? {
        guard !changes.isEmpty else { return nil }
        do throws(APIFailure) {
            for _ in 0..<5 {
                var inventory: ObjectInventory
                switch try await read(id, send: send) {
                case .read(let found): inventory = found
                case .unreadable(let why): return why
                }
                var isLate = false
                for index in inventory.make(changes) {
                    guard let request = inventory.request(index, source: source) else { continue }
                    let response = try await send(request)
                    guard let status = APIStatus(response) else { continue }
                    // Changed, made or taken away by another writer since it was read.
                    let isGone = status.code == 404 && !status.isUnknownPath && status.kind != "namespaces"
                    guard status.code == 409 || isGone else { return reason(status) }
                    isLate = true
                    break
                }
                if !isLate { return nil }
            }
            return "it is changed by others all the time. Try again"
        } catch {
            return error.message
        }
    }

    private static func reason(_ status: APIStatus) -> String {
        guard status.isMissingRight, let right = RefusalWords(status, hidesText: false).right else { return "\(status)" }
        return right.missing
    }
}
