package dev.tidegate.ledger;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * A long behind a stamp byte. State that Flink's {@link LongSerializer} wrote is migrated to it; the other way there is
 * none, since Flink asks the new serializer, and LongSerializer knows only itself.
 */
public final class StampedLongSerializer extends TypeSerializerSingleton<Long> {
    private static final byte STAMP = 2;
    private static final long serialVersionUID = 1L;

    @Override
    public boolean isImmutableType() {
        return true;
    }

    @Override
    public Long createInstance() {
        return 0L;
    }

    @Override
    public Long copy(Long from) {
        return from;
    }

    @Override
    public Long copy(Long from, Long reuse) {
        return from;
    }

    @Override
    public int getLength() {
        return Byte.BYTES + Long.BYTES;
    }

    @Override
    public void serialize(Long record, DataOutputView target) throws IOException {
        target.writeByte(STAMP);
        target.writeLong(record);
    }

    @Override
    public Long deserialize(DataInputView source) throws IOException {
        byte stamp = source.readByte();
        if (stamp != STAMP) {
            throw new IOException("not a stamped long: stamp " + stamp + ", expected " + STAMP);
        }
        return source.readLong();
    }

    @Override
    public Long deserialize(Long reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        serialize(deserialize(source), target);
    }

    @Override
    public TypeSerializerSnapshot<Long> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Takes over what {@link LongSerializer} wrote, by migration. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Long> {
        public Snapshot() {
            super(StampedLongSerializer::new);
        }

        @Override
        public TypeSerializerSchemaCompatibility<Long> resolveSchemaCompatibility(
                TypeSerializerSnapshot<Long> old) {
            if (old instanceof LongSerializer.LongSerializerSnapshot) {
                return TypeSerializerSchemaCompatibility.compatibleAfterMigration();
            }
            return super.resolveSchemaCompatibility(old);
        }
    }
}
