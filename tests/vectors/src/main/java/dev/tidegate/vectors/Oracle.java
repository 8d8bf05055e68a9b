package dev.tidegate.vectors;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.flink.runtime.checkpoint.Checkpoints;
import org.apache.flink.runtime.checkpoint.MasterState;
import org.apache.flink.runtime.checkpoint.OperatorState;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.checkpoint.metadata.CheckpointMetadata;
import org.apache.flink.runtime.state.KeyGroupRange;

/**
 * What Flink's own reader finds in a _metadata, as canonical JSON: keys sorted, one file a line, "path TAB json".
 *
 * <p>Getters are called by name, since their types differ from version to version.
 */
public final class Oracle {
    private Oracle() {}

    public static void main(String[] paths) throws Exception {
        if (paths.length == 1 && paths[0].equals("--time")) {
            time();
            return;
        }
        for (String path : paths) {
            String json;
            try {
                json = json(read(Path.of(path)));
            } catch (Exception | StackOverflowError | NoClassDefFoundError error) {
                json = json(Map.of("error", String.valueOf(error)));
            }
            System.out.println(path + "\t" + json);
        }
    }

    /**
     * For a comparison of speed, turn by turn: each line of standard input is "count TAB path TAB path ...", and is
     * answered by the seconds that it took to read those files that many times, in this JVM.
     */
    private static void time() throws Exception {
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = asked.readLine()) != null; ) {
            String[] words = line.split("\t");
            long operators = 0;
            long start = System.nanoTime();
            for (int round = Integer.parseInt(words[0]); round > 0; round--) {
                for (int word = 1; word < words.length; word++) {
                    operators += load(Path.of(words[word])).getOperatorStates().size();
                }
            }
            System.out.println((System.nanoTime() - start) / 1e9 + "\t" + operators);
            System.out.flush();
        }
    }

    /** Whether a snapshot holds records that were in flight. */
    static boolean inFlight(Path path) throws Exception {
        for (OperatorState operator : load(path).getOperatorStates()) {
            for (OperatorSubtaskState state : operator.isFullyFinished() ? List.<OperatorSubtaskState>of() : operator.getStates()) {
                if (!((Collection<?>) call(state, "getInputChannelState")).isEmpty()
                        || !((Collection<?>) call(state, "getResultSubpartitionState")).isEmpty()) {
                    return true;
                }
            }
        }
        return false;
    }

    private static CheckpointMetadata load(Path path) throws Exception {
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(Files.newInputStream(path), 1 << 16))) {
            return Checkpoints.loadCheckpointMetadata(
                    in, Oracle.class.getClassLoader(), path.toAbsolutePath().getParent().toUri().toString());
        }
    }

    static Map<String, Object> read(Path path) throws Exception {
        CheckpointMetadata metadata = load(path);
        Map<String, Object> found = new TreeMap<>();
        found.put("checkpoint_id", metadata.getCheckpointId());
        List<Object> masters = new ArrayList<>();
        for (MasterState master : metadata.getMasterStates()) {
            masters.add(new TreeMap<>(Map.of("name", master.name(), "version", master.version(), "bytes", digest(master.bytes()))));
        }
        found.put("master_states", masters);
        found.put("properties", properties(metadata.getCheckpointProperties()));
        List<Object> operators = new ArrayList<>();
        for (OperatorState operator : metadata.getOperatorStates()) {
            operators.add(operator(operator));
        }
        found.put("operators", operators);
        return found;
    }

    private static Object properties(Object properties) throws Exception {
        if (properties == null) {
            return null;
        }
        Map<String, Object> found = new TreeMap<>();
        for (Field field : properties.getClass().getDeclaredFields()) {
            field.setAccessible(true);
            if (field.getType() == boolean.class) {
                found.put(field.getName(), field.get(properties));
            } else if (field.getName().equals("checkpointType")) {
                Object type = field.get(properties);
                found.put("name", call(type, "getName"));
                found.put("savepoint", call(type, "isSavepoint"));
                found.put("sharing", String.valueOf(call(type, "getSharingFilesStrategy")));
                if ((Boolean) call(type, "isSavepoint")) {
                    found.put("format", String.valueOf(call(type, "getFormatType")));
                    found.put("action", String.valueOf(call(type, "getPostCheckpointAction")));
                }
            }
        }
        return found;
    }

    private static Map<String, Object> operator(OperatorState operator) throws Exception {
        Map<String, Object> found = new TreeMap<>();
        found.put("id", operator.getOperatorID().toHexString());
        found.put("name", optional(operator, "getOperatorName"));
        found.put("uid", optional(operator, "getOperatorUid"));
        found.put("parallelism", operator.getParallelism());
        found.put("max_parallelism", operator.getMaxParallelism());
        found.put("finished", operator.isFullyFinished());
        found.put("coordinator", stream(operator.getCoordinatorState()));
        Map<String, Object> subtasks = new TreeMap<>();
        if (!operator.isFullyFinished()) {
            for (Map.Entry<Integer, OperatorSubtaskState> entry : operator.getSubtaskStates().entrySet()) {
                subtasks.put(String.valueOf(entry.getKey()), subtask(entry.getValue()));
            }
        }
        found.put("subtasks", subtasks);
        return found;
    }

    private static Object subtask(OperatorSubtaskState state) throws Exception {
        if (state.isFinished()) {
            return "finished";
        }
        Map<String, Object> found = new TreeMap<>();
        found.put("managed_operator", each(state.getManagedOperatorState()));
        found.put("raw_operator", each(state.getRawOperatorState()));
        found.put("managed_keyed", each(state.getManagedKeyedState()));
        found.put("raw_keyed", each(state.getRawKeyedState()));
        found.put("input_channels", each((Collection<?>) call(state, "getInputChannelState")));
        found.put("output_channels", each((Collection<?>) call(state, "getResultSubpartitionState")));
        return found;
    }

    private static List<Object> each(Collection<?> handles) throws Exception {
        List<Object> found = new ArrayList<>();
        for (Object handle : handles) {
            found.add(handle(handle));
        }
        return found;
    }

    private static Object handle(Object handle) throws Exception {
        if (handle == null) {
            return null;
        }
        Map<String, Object> found = new TreeMap<>();
        String kind = handle.getClass().getSimpleName();
        found.put("class", kind);
        switch (kind) {
            case "OperatorStreamStateHandle":
            case "FileMergingOperatorStreamStateHandle":
            case "EmptyFileMergingOperatorStreamStateHandle":
                Map<String, Object> states = new TreeMap<>();
                for (Map.Entry<?, ?> entry : ((Map<?, ?>) call(handle, "getStateNameToPartitionOffsets")).entrySet()) {
                    Map<String, Object> state = new TreeMap<>();
                    state.put("mode", String.valueOf(call(entry.getValue(), "getDistributionMode")));
                    state.put("offsets", longs((long[]) call(entry.getValue(), "getOffsets")));
                    states.put(String.valueOf(entry.getKey()), state);
                }
                found.put("states", states);
                found.put("stream", stream(call(handle, "getDelegateStateHandle")));
                if (!kind.startsWith("Operator")) {
                    found.put("task_owned", path(call(call(handle, "getTaskOwnedDirHandle"), "getDirectory")));
                    found.put("shared", path(call(call(handle, "getSharedDirHandle"), "getDirectory")));
                }
                break;
            case "KeyGroupsStateHandle":
            case "KeyGroupsSavepointStateHandle":
                KeyGroupRange groups = range(handle, found);
                List<Object> offsets = new ArrayList<>();
                Object rangeOffsets = call(handle, "getGroupRangeOffsets");
                for (int group : groups) {
                    Method get = rangeOffsets.getClass().getMethod("getKeyGroupOffset", int.class);
                    offsets.add(get.invoke(rangeOffsets, group));
                }
                found.put("offsets", offsets);
                found.put("stream", stream(call(handle, "getDelegateStateHandle")));
                found.put("handle_id", String.valueOf(call(handle, "getStateHandleId")));
                break;
            case "IncrementalRemoteKeyedStateHandle":
                range(handle, found);
                found.put("checkpoint_id", call(handle, "getCheckpointId"));
                found.put("backend_id", String.valueOf(call(handle, "getBackendIdentifier")));
                found.put("checkpointed_size", call(handle, "getCheckpointedSize"));
                found.put("handle_id", String.valueOf(call(handle, "getStateHandleId")));
                found.put("meta", stream(call(handle, "getMetaDataStateHandle")));
                found.put("shared", named((Collection<?>) call(handle, "getSharedState")));
                found.put("private", named((Collection<?>) call(handle, "getPrivateState")));
                break;
            case "ChangelogStateBackendHandleImpl":
                range(handle, found);
                found.put("checkpointed_size", call(handle, "getCheckpointedSize"));
                found.put("materialized", each((Collection<?>) call(handle, "getMaterializedStateHandles")));
                found.put("changes", each((Collection<?>) call(handle, "getNonMaterializedStateHandles")));
                found.put("materialization_id", call(handle, "getMaterializationID"));
                found.put("checkpoint_id", call(handle, "getCheckpointId"));
                found.put("handle_id", String.valueOf(call(handle, "getStateHandleId")));
                break;
            case "InMemoryChangelogStateHandle":
                range(handle, found);
                found.put("first", call(handle, "getFrom"));
                found.put("last", call(handle, "getTo"));
                List<Object> changes = new ArrayList<>();
                for (Object change : (Collection<?>) call(handle, "getChanges")) {
                    changes.add(List.of(call(change, "getKeyGroup"), digest((byte[]) call(change, "getChange"))));
                }
                found.put("changes", changes);
                found.put("handle_id", String.valueOf(call(handle, "getStateHandleId")));
                break;
            case "ChangelogStateHandleStreamImpl":
                range(handle, found);
                List<Object> streams = new ArrayList<>();
                for (Object pair : (Collection<?>) call(handle, "getHandlesAndOffsets")) {
                    Field stream = pair.getClass().getField("f0");
                    Field offset = pair.getClass().getField("f1");
                    streams.add(List.of(offset.get(pair), stream(stream.get(pair))));
                }
                found.put("changes", streams);
                found.put("size", call(handle, "getStateSize"));
                found.put("checkpointed_size", call(handle, "getCheckpointedSize"));
                found.put("storage", call(handle, "getStorageIdentifier"));
                found.put("handle_id", String.valueOf(call(handle, "getStateHandleId")));
                break;
            case "InputChannelStateHandle":
            case "ResultSubpartitionStateHandle":
                Object info = call(handle, "getInfo");
                boolean input = kind.startsWith("Input");
                found.put("gate", call(info, input ? "getGateIdx" : "getPartitionIdx"));
                found.put("channel", call(info, input ? "getInputChannelIdx" : "getSubPartitionIdx"));
                found.put("offsets", new ArrayList<>((Collection<?>) call(handle, "getOffsets")));
                channel(handle, found);
                break;
            case "MergedInputChannelStateHandle":
            case "MergedResultSubpartitionStateHandle":
                found.put("channel_offsets", digest((byte[]) call(handle, "getSerializedChannelOffsets")));
                channel(handle, found);
                break;
            default:
                throw new IllegalStateException("no description of " + handle.getClass());
        }
        return found;
    }

    private static void channel(Object handle, Map<String, Object> found) throws Exception {
        found.put("subtask", call(handle, "getSubtaskIndex"));
        found.put("size", call(handle, "getStateSize"));
        found.put("stream", stream(call(handle, "getDelegate")));
    }

    private static KeyGroupRange range(Object handle, Map<String, Object> found) throws Exception {
        KeyGroupRange range = (KeyGroupRange) call(handle, "getKeyGroupRange");
        found.put("first_key_group", range.getStartKeyGroup());
        found.put("key_groups", range.getNumberOfKeyGroups());
        return range;
    }

    private static List<Object> named(Collection<?> files) throws Exception {
        List<Object> found = new ArrayList<>();
        for (Object file : files) {
            found.add(List.of(call(file, "getLocalPath"), stream(call(file, "getHandle"))));
        }
        return found;
    }

    private static Object stream(Object handle) throws Exception {
        if (handle == null) {
            return null;
        }
        Map<String, Object> found = new TreeMap<>();
        String kind = handle.getClass().getSimpleName();
        found.put("class", kind);
        switch (kind) {
            case "ByteStreamStateHandle":
                found.put("name", call(handle, "getHandleName"));
                found.put("bytes", digest((byte[]) call(handle, "getData")));
                break;
            case "RelativeFileStateHandle":
                found.put("name", call(handle, "getRelativePath"));
                found.put("size", call(handle, "getStateSize"));
                break;
            case "FileStateHandle":
                found.put("path", path(call(handle, "getFilePath")));
                found.put("size", call(handle, "getStateSize"));
                break;
            case "SegmentFileStateHandle":
                found.put("path", path(call(handle, "getFilePath")));
                found.put("start", call(handle, "getStartPos"));
                found.put("size", call(handle, "getStateSize"));
                found.put("scope", String.valueOf(call(handle, "getScope")));
                found.put("logical_id", call(call(handle, "getLogicalFileId"), "getKeyString"));
                break;
            case "EmptySegmentFileStateHandle":
                break;
            case "KeyGroupsStateHandle":
                return handle(handle);
            default:
                throw new IllegalStateException("no description of " + handle.getClass());
        }
        return found;
    }

    private static String path(Object path) {
        return String.valueOf(path);
    }

    private static List<Object> longs(long[] values) {
        List<Object> found = new ArrayList<>();
        for (long value : values) {
            found.add(value);
        }
        return found;
    }

    private static String digest(byte[] bytes) throws Exception {
        byte[] sha = MessageDigest.getInstance("SHA-256").digest(bytes);
        return bytes.length + ":" + HexFormat.of().formatHex(sha, 0, 8);
    }

    private static Object optional(Object target, String getter) throws Exception {
        try {
            return ((Optional<?>) call(target, getter)).orElse(null);
        } catch (NoSuchMethodException before2) {
            return null;
        }
    }

    private static Object call(Object target, String getter) throws Exception {
        for (Class<?> type = target.getClass(); type != null; type = type.getSuperclass()) {
            Method method;
            try {
                method = type.getDeclaredMethod(getter);
            } catch (NoSuchMethodException inSuperclass) {
                continue;
            }
            method.setAccessible(true);
            try {
                return method.invoke(target);
            } catch (InvocationTargetException failed) {
                throw failed.getCause() instanceof Exception cause ? cause : failed;
            }
        }
        // A default method of an interface.
        Method method = target.getClass().getMethod(getter);
        method.setAccessible(true);
        return method.invoke(target);
    }

    static String json(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value) {
        if (value instanceof Map<?, ?> map) {
            out.append('{');
            String separator = "";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(separator);
                write(out, entry.getKey());
                out.append(':');
                write(out, entry.getValue());
                separator = ",";
            }
            out.append('}');
        } else if (value instanceof Collection<?> list) {
            out.append('[');
            String separator = "";
            for (Object item : list) {
                out.append(separator);
                write(out, item);
                separator = ",";
            }
            out.append(']');
        } else if (value instanceof String text) {
            out.append('"');
            for (char c : text.toCharArray()) {
                if (c == '"' || c == '\\') {
                    out.append('\\').append(c);
                } else if (c < 0x20 || c > 0x7e) {
                    out.append(String.format("\\u%04x", (int) c));
                } else {
                    out.append(c);
                }
            }
            out.append('"');
        } else {
            out.append(value);
        }
    }
}
